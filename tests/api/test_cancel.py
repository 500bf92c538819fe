"""Cancelling: what waits ends at once, what runs ends between two steps, and nothing keeps the engine."""

import time

import httpx2
import pytest

from serving import ENDPOINT, serving, small, submit, wait


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """One engine that takes eight seconds for a request."""
    with serving(tmp_path_factory.mktemp("slow"), mock_seconds=8, mock_slots=1) as server, server.client() as client:
        yield client


def test_queued_and_running_requests_end_as_cancelled(slow):
    running, queued, waiting = submit(slow), submit(slow), submit(slow)
    while slow.get(running["status_url"]).json()["status"] != "IN_PROGRESS":
        time.sleep(0.02)
    time.sleep(0.1)  # positions are a cached read
    positions = [slow.get(request["status_url"]).json()["queue_position"] for request in (queued, waiting)]
    assert positions == [0, 1]
    began = time.monotonic()
    for request in (queued, waiting, running):
        answer = slow.put(request["cancel_url"])
        assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    for request in (queued, waiting, running):
        status = wait(slow, request, seconds=5)
        assert status["status"] == "COMPLETED"
        assert status["error_type"] == "client_cancelled"
        result = slow.get(request["response_url"])
        assert result.status_code == 499
        assert result.json()["error_type"] == "client_cancelled"
        again = slow.put(request["cancel_url"])
        assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED"})
    assert time.monotonic() - began < 6, "the work was stopped, not waited for"


def test_a_run_ends_with_its_connection(slow):
    with pytest.raises(httpx2.ReadTimeout):
        slow.post(f"/run/{ENDPOINT}", json=small(), timeout=1.0)
    began = time.monotonic()
    request = submit(slow)
    while slow.get(request["status_url"]).json()["status"] == "IN_QUEUE":
        assert time.monotonic() - began < 5, "the abandoned run still holds the only engine"
        time.sleep(0.02)
    slow.put(request["cancel_url"])
    wait(slow, request, seconds=5)
