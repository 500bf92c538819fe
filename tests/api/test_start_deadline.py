"""A request that does not start in time ends, also while every engine is busy, and is not made later."""

import pytest

from serving import ENDPOINT, serving, small, submit, wait

OLD, NEW = "X-Fal-Request-Timeout", "X-Fal-Request-Start-Timeout"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("deadlines"), mock_slots=1, mock_seconds=60) as server:
        yield server


@pytest.fixture
def busy(server):
    """A client of a server whose one engine is at work."""
    with server.client() as client:
        running = submit(client)
        while client.get(running["status_url"]).json()["status"] == "IN_QUEUE":
            pass
        yield client
        assert client.get(running["status_url"]).json()["status"] == "IN_PROGRESS"
        client.put(running["cancel_url"])
        wait(client, running)


def post(client, headers, surface="queue"):
    return client.post(f"/{surface}/{ENDPOINT}", json=small(), headers=headers)


def assert_late(answer):
    assert answer.status_code == 504
    body = answer.json()
    assert (body["error_type"], "timed out" in body["detail"]) == ("request_timeout", True)
    assert answer.headers["x-fal-request-timeout-type"] == "user"
    assert answer.headers["x-fal-error-type"] == "request_timeout"
    assert answer.headers["x-fal-needs-retry"] == "0"


@pytest.mark.parametrize("headers", [{OLD: "0.3"}, {NEW: "0.3"}, {OLD: "1000", NEW: "0.3"}])
def test_a_request_that_waits_too_long(busy, headers):
    request = post(busy, headers).json()
    status = wait(busy, request, seconds=10)
    assert (status["status"], status["error_type"]) == ("COMPLETED", "request_timeout")
    assert_late(busy.get(request["response_url"]))
    assert busy.put(request["cancel_url"]).status_code == 400


def test_a_run(busy):
    answer = post(busy, {OLD: "0.3"}, "run")
    assert_late(answer)
    assert answer.headers["x-fal-request-id"]


def test_the_newer_name_wins(busy):
    request = post(busy, {OLD: "0.3", NEW: "1000"}).json()
    late = post(busy, {OLD: "0.3"}).json()
    wait(busy, late, seconds=10)
    assert busy.get(request["status_url"]).json()["status"] == "IN_QUEUE"
    busy.put(request["cancel_url"])


def test_what_started_in_time_may_take_longer(mock_server):
    with mock_server.client() as client:
        request = post(client, {OLD: "30"}).json()
        assert "error" not in wait(client, request)


@pytest.mark.parametrize("name", [OLD, NEW])
@pytest.mark.parametrize("value", ["0.1", "0", "-1", "soon", "", "nan", "inf"])
def test_what_is_no_deadline_is_refused(mock_server, name, value):
    with mock_server.client() as client:
        for surface in ("queue", "run"):
            answer = post(client, {name: value}, surface)
            assert answer.status_code == 400
            assert answer.json()["error_type"] == answer.headers["x-fal-error-type"] == "bad_request"
            assert name.lower() in answer.json()["detail"]


def test_a_deadline_passes_while_the_server_is_down(tmp_path):
    with serving(tmp_path, mock_slots=1, mock_seconds=60) as server:
        with server.client() as client:
            submit(client)
            request = post(client, {OLD: "0.5"}).json()
        server.kill()
        server.start()
        with server.client() as client:
            assert wait(client, request, seconds=10)["error_type"] == "request_timeout"
