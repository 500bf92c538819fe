"""``/status/stream``: what fal's JavaScript client follows a request by."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from event_stream import COMMENT, events, following

from serving import APP, Server, serving, submit, wait


@pytest.fixture
def client(mock_server):
    with mock_server.client() as client:
        yield client


def stream_of(request):
    return request["status_url"] + "/stream"


def test_it_ends_with_completed_and_has_each_log_line_once(client):
    request = submit(client)
    with following(client, stream_of(request), params={"logs": "1"}) as answer:
        assert answer.headers["x-fal-request-id"] == request["request_id"]
        told = list(events(answer))
    statuses = [event["status"] for event in told]
    order = ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert statuses == sorted(statuses, key=order.index)
    assert statuses.count("COMPLETED") == 1
    for event in told:
        assert event["response_url"] == request["response_url"]
        assert ("queue_position" in event) == (event["status"] == "IN_QUEUE")
    polled = wait(client, request)
    assert [line for event in told for line in event["logs"]] == polled["logs"]
    assert {**told[-1], "logs": polled["logs"]} == polled


def test_without_logs_there_are_none(client):
    request = submit(client)
    with following(client, stream_of(request) + "/") as answer:
        told = list(events(answer))
    assert {event["logs"] for event in told} == {None}
    # Nothing is told twice: without logs an event is another status or another place in the queue.
    assert len({(event["status"], event.get("queue_position")) for event in told}) == len(told)


def test_what_has_ended_is_one_event(client):
    for request, error_type in ((submit(client), None), (submit(client, num_frames=3), "greater_than_equal")):
        polled = wait(client, request)
        with following(client, stream_of(request), params={"logs": "true"}) as answer:
            assert list(events(answer)) == [polled]
        assert polled.get("error_type") == error_type


def test_unknown_requests(client):
    for path in (f"{APP}/requests/none", "fal-ai/ltx-2/requests/" + submit(client)["request_id"]):
        answer = client.get(f"/queue/{path}/status/stream")
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})
        assert answer.headers["content-type"] == "application/json"


def test_head_is_answered_at_once(client):
    answer = client.head(stream_of(submit(client)))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")


def test_cancelling_ends_it(tmp_path):
    with serving(tmp_path, mock_slots=1, mock_seconds=30) as server, server.client() as client:
        running, waiting = submit(client), submit(client)
        with following(client, stream_of(waiting)) as answer:
            told = events(answer)
            assert next(told)["queue_position"] in (0, 1)
            client.put(waiting["cancel_url"])
            last = list(told)[-1]
            assert (last["status"], last["error_type"]) == ("COMPLETED", "client_cancelled")
        client.put(running["cancel_url"])


def test_the_place_in_the_queue_is_told_as_it_falls(tmp_path):
    with serving(tmp_path, mock_slots=1, mock_seconds=1) as server, server.client() as client:
        *_, last = [submit(client) for _ in range(4)]
        with following(client, stream_of(last)) as answer:
            told = list(events(answer))
    places = [event["queue_position"] for event in told if event["status"] == "IN_QUEUE"]
    assert places == sorted(set(places), reverse=True)
    assert places[0] - places[-1] >= 1
    assert [event["status"] for event in told[len(places) :]] == ["IN_PROGRESS", "COMPLETED"]


def test_a_silent_stream_is_kept_alive_and_ends_with_the_server(tmp_path):
    server = Server(tmp_path, mock_slots=1, mock_seconds=600, drain_seconds=0.1).start()
    try:
        with server.client() as client:
            request = submit(client)
            with following(client, stream_of(request), timeout=15) as answer:
                told = events(answer, comments=True)
                seen = []
                while COMMENT not in seen:
                    seen.append(next(told))
                assert seen[-2]["status"] == "IN_PROGRESS"
                assert server.stop() == 0
    finally:
        if server.process and server.process.poll() is None:
            server.kill()


def test_many_at_once(mock_server, client):
    """Every one of them is told of the end; more are opened in the bench."""
    request = submit(client)

    def last(_: int) -> str:
        with mock_server.client() as own, following(own, stream_of(request)) as answer:
            return list(events(answer))[-1]["status"]

    with ThreadPoolExecutor(32) as threads:
        assert set(threads.map(last, range(64))) == {"COMPLETED"}
