"""Preview pictures over HTTP: in a model's stream, and of any running request; for those who asked, and nobody else."""

import base64
import time
from io import BytesIO

import pytest
from event_stream import events, following
from PIL import Image

from serving import ENDPOINT, serving, small, submit, wait

STREAM = f"/run/{ENDPOINT}/stream"
HEADER = {"x-stillmotion-preview": "1"}
JPEG = "data:image/jpeg;base64,"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    data = tmp_path_factory.mktemp("previews")
    with serving(data, mock_slots=2, mock_seconds=2, preview_seconds=0) as server, server.client() as client:
        yield client


def opened(content):
    assert len(content) <= 20_000
    image = Image.open(BytesIO(content))
    image.load()
    assert image.format == "JPEG"
    return image


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def preview_of(client, request, **options):
    return client.get(request["response_url"] + "/preview", **options)


@pytest.mark.parametrize("asked", [{"headers": HEADER}, {"params": {"preview": "true"}}])
def test_a_stream_shows_the_video_emerging(client, asked):
    with following(client, STREAM, "POST", json=small(seed=3), **asked) as answer:
        *progress, output = events(answer)
    shown = [event["preview"] for event in progress if "preview" in event]
    assert len(shown) >= 2  # the first two are always due
    assert len(set(shown)) == len(shown)  # a picture is sent once
    for uri in shown:
        assert uri.startswith(JPEG)
        assert opened(base64.b64decode(uri.removeprefix(JPEG))).size == (64, 64)
    assert "preview" not in output
    assert output["video"]["num_frames"] == 9


@pytest.mark.parametrize("asked", [{}, {"headers": {"x-stillmotion-preview": "0"}}, {"params": {"preview": "false"}}])
def test_nobody_else_gets_any(client, asked):
    with following(client, STREAM, "POST", json=small(), **asked) as answer:
        first, *others = events(answer)
        assert not any("preview" in event for event in (first, *others))


def test_the_option_is_none_of_the_input(client):
    """With GET the query is the input, in which an unknown field would be told in the log."""
    query = {name: value for name, value in small(preview="1").items() if isinstance(value, (str, int))}
    with following(client, STREAM, params=query) as answer:
        id = answer.headers["x-fal-request-id"]
        assert any("preview" in event for event in events(answer))
    logs = client.get(f"/queue/fal-ai/ltx-2-19b/requests/{id}/status", params={"logs": 1}).json()["logs"]
    assert not any("unknown" in line["message"] for line in logs)


def test_a_queued_request_has_a_newest_picture_while_it_runs(tmp_path):
    """What was asked is stored with the request: a server that takes it up later makes pictures too."""
    with serving(tmp_path, mock_slots=1, mock_seconds=12, preview_seconds=0) as server:
        with server.client() as client:
            request = client.post(f"/queue/{ENDPOINT}", json=small(), headers=HEADER).json()
            first = until(lambda: (found := preview_of(client, request)).status_code == 200 and found)
            assert opened(first.content).size == (64, 64)
            assert first.headers["content-type"] == "image/jpeg"
            assert first.headers["cache-control"] == "private, no-cache"
            known = {"if-none-match": first.headers["etag"]}
            # The same one is not sent twice; the next one is, under another name.
            again = until(lambda: (found := preview_of(client, request, headers=known)).status_code != 304 and found)
            assert again.status_code == 200
            assert again.content != first.content
            assert again.headers["etag"] != first.headers["etag"]
        server.kill()
        server.start()
        with server.client() as client:
            until(lambda: preview_of(client, request).status_code == 200)
            assert len(list((server.data / "files" / "work").glob("*/preview.jpg"))) == 1
            assert client.put(request["cancel_url"]).status_code == 202
            wait(client, request)
            ended = preview_of(client, request)
            assert (ended.status_code, ended.json()) == (404, {"status": "NOT_FOUND"})
            assert list((server.data / "files" / "work").iterdir()) == []


def test_none_of_what_did_not_ask_and_of_what_is_not_there(client):
    request = submit(client)
    logs = until(lambda: client.get(request["status_url"], params={"logs": 1}).json()["logs"])
    assert logs
    assert preview_of(client, request).status_code == 404
    wait(client, request)
    assert preview_of(client, request).status_code == 404
    unknown = {"response_url": request["response_url"].replace(request["request_id"], "absent")}
    assert preview_of(client, unknown).json() == {"status": "NOT_FOUND"}


def test_the_video_is_the_same_with_pictures(client):
    files = []
    for headers in ({}, HEADER):
        request = client.post(f"/queue/{ENDPOINT}", json=small(seed=11), headers=headers).json()
        wait(client, request)
        files.append(client.get(client.get(request["response_url"]).json()["video"]["url"]).content)
    assert files[0] == files[1]
