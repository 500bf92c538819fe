"""Low priority runs after all of normal priority, and the place in the queue says so."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from serving import ENDPOINT, serving, small, submit, wait


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with (
        serving(tmp_path_factory.mktemp("priorities"), mock_slots=1, mock_seconds=2) as server,
        server.client() as client,
    ):
        yield client


def post(client, *, query="", **headers):
    answer = client.post(f"/queue/{ENDPOINT}{query}", json=small(), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def place(client, request):
    return client.get(request["status_url"]).json().get("queue_position")


def test_normal_goes_before_low(client):
    first = submit(client)
    while place(client, first) is not None:
        pass
    low = post(client, **{"X-Fal-Queue-Priority": "low"})
    also_low = post(client, query="?priority=low")
    normal = post(client, **{"X-Fal-Queue-Priority": "normal"})
    unsaid = submit(client)
    time.sleep(0.1)  # places are read from a list that may be 20 ms old
    queue = [normal, unsaid, low, also_low]
    assert [place(client, each) for each in queue] == [0, 1, 2, 3]
    for each in queue:
        wait(client, each)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    answer = client.get("/v1/models/requests/by-endpoint", params={"endpoint_id": ENDPOINT, "start": since})
    items = sorted(answer.json()["items"], key=lambda item: item["started_at"])
    assert [item["request_id"] for item in items] == [each["request_id"] for each in (first, *queue)]


def test_another_word_is_refused(client):
    answer = client.post(f"/queue/{ENDPOINT}", json=small(), headers={"X-Fal-Queue-Priority": "urgent"})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
    assert answer.headers["x-fal-error-type"] == "bad_request"
