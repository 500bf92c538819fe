"""``/stream`` of a model: progress, then the output; and its request ends with its connection."""

import base64
import time

import pytest
from event_stream import events, following

from serving import ENDPOINT, serving, small

STREAM = f"/run/{ENDPOINT}/stream"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("stream"), mock_slots=1, mock_seconds=1) as server, server.client() as client:
        yield client


def test_progress_and_the_output_last(client):
    with following(client, STREAM, "POST", json=small(seed=3)) as answer:
        id = answer.headers["x-fal-request-id"]
        *progress, output = events(answer)
    assert {event["status"] for event in progress} == {"IN_PROGRESS"}
    assert {event["request_id"] for event in progress} == {id}
    percents = [event["percent"] for event in progress]
    assert len(percents) > 3
    assert percents == sorted(set(percents))
    assert percents[-1] <= 100
    for event in progress:
        assert 1 <= event["step"] <= event["total"]
        assert 1 <= event["stage"] <= event["stages"]
    assert progress[0]["eta_seconds"] is None
    assert progress[2]["eta_seconds"] > 0
    result = client.get(f"/queue/fal-ai/ltx-2-19b/requests/{id}")
    assert output == result.json()
    assert (output["seed"], output["video"]["num_frames"]) == (3, 9)


def test_by_get_and_with_a_slash(client):
    query = {name: value for name, value in small().items() if isinstance(value, (str, int))}
    with following(client, STREAM + "/", params=query) as answer:
        assert list(events(answer))[-1]["video"]["num_frames"] == 9


def test_the_file_inside_the_last_event(client):
    with following(client, STREAM, "POST", json=small(sync_mode=True)) as answer:
        video = list(events(answer))[-1]["video"]
    type, _, content = video["url"].partition(";base64,")
    assert type == "data:video/mp4"
    assert len(base64.b64decode(content)) == video["file_size"]


def test_errors_before_the_first_step_are_plain_answers(client):
    for fields in ({"num_frames": 3}, {"image_url": "data:image/png;base64,AAAA"}):
        answer = client.post(STREAM, json=small(**fields))
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json")
        assert answer.headers["x-fal-request-id"]
        assert answer.json()["detail"][0]["loc"][:1] == ["body"]
    assert client.post("/run/fal-ai/ltx-2-19b/nothing/stream", json={}).status_code == 404
    assert client.post(STREAM, content=b"{").status_code == 422


def status_of(client, id):
    return client.get(f"/queue/fal-ai/ltx-2-19b/requests/{id}/status").json()


def test_a_stream_that_is_left_ends_its_request(tmp_path):
    with serving(tmp_path, mock_slots=1, mock_seconds=16) as server, server.client() as client:
        ids = []
        with following(client, STREAM, "POST", json=small()) as answer:
            ids.append(answer.headers["x-fal-request-id"])
            told = events(answer)
            assert next(told)["step"] == 1
            with server.client() as other, following(other, STREAM, "POST", json=small()) as waiting:
                ids.append(waiting.headers["x-fal-request-id"])
                event = next(events(waiting))
                assert (event["status"], event["queue_position"]) == ("IN_QUEUE", 0)
        end = time.monotonic() + 20
        while {status_of(client, id).get("error_type") for id in ids} != {"client_cancelled"}:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_an_error_after_the_first_step_is_the_last_event(tmp_path):
    with (
        serving(tmp_path, mock_seconds=16) as server,
        server.client() as client,
        following(client, STREAM, "POST", json=small()) as answer,
    ):
        told = events(answer)
        next(told)
        client.put(f"/queue/fal-ai/ltx-2-19b/requests/{answer.headers['x-fal-request-id']}/cancel")
        last = list(told)[-1]
    assert (last["status"], last["status_code"], last["error_type"]) == ("ERROR", 499, "client_cancelled")
