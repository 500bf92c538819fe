"""What a caller says beside the input: by GET, what is kept, for how long, how often it is tried, behind how many."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from serving import ENDPOINT, data_uri, picture, serving, small, submit, wait


@pytest.fixture
def client(mock_server):
    with mock_server.client() as client:
        yield client


def post(client, headers, **fields):
    answer = client.post(f"/queue/{ENDPOINT}", json=small(**fields), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(client, request):
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    query = {"start": since, "request_id": request["request_id"], "endpoint_id": ENDPOINT, "expand": "payloads"}
    (item,) = client.get("/v1/models/requests/by-endpoint", params=query).json()["items"]
    return item


PICTURE = data_uri(picture(64, 64, format="JPEG"), "image/jpeg")
QUERY = {"prompt": "by get", "image_url": PICTURE, "num_frames": "9", "generate_audio": "false"}


def test_get_submits_and_runs_with_the_query_as_input(client):
    request = client.get(f"/queue/{ENDPOINT}", params={**QUERY, "priority": "low"}).json()
    assert "error" not in wait(client, request)
    assert listed(client, request)["json_input"] == QUERY
    answer = client.get(f"/run/{ENDPOINT}", params={**QUERY, "num_frames": "17"})
    assert (answer.status_code, answer.json()["video"]["num_frames"]) == (200, 17)
    answer = client.get(f"/run/{ENDPOINT}", params={**QUERY, "num_frames": "many"})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "num_frames"])


@pytest.mark.parametrize("surface", ["run", "queue"])
def test_what_a_browser_gets_for_another_page_begins_nothing(client, surface):
    foreign = client.get(f"/{surface}/{ENDPOINT}", params=QUERY, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert client.head(f"/{surface}/{ENDPOINT}", params=QUERY).status_code == 405


def test_no_input_is_an_empty_one(client):
    answer = client.post(f"/run/{ENDPOINT}", headers={"content-type": "application/json"})
    missing = [detail["loc"] for detail in answer.json()["detail"] if detail["type"] == "missing"]
    assert (answer.status_code, ["body", "prompt"] in missing) == (422, True)
    assert client.get(f"/run/{ENDPOINT}").json() == answer.json()


def test_the_engine_is_named(client):
    answer = client.post(f"/run/{ENDPOINT}", json=small())
    assert answer.headers["x-fal-served-from"] == "mock"


def test_hints_and_unknown_headers_change_nothing(client):
    headers = {"X-Fal-Runner-Hint": "mine", "x-app-fal-disable-fallback": "1", "X-Fal-Retry-Config": "{"}
    assert "error" not in wait(client, post(client, headers))


TAGS = {
    "team=video,run.id=7": {"team": "video", "run.id": "7"},
    "Bad=1,,=2,ok=,none, a = b": {"ok": "", "a": "b"},
    ",".join(f"k{i}=v" for i in range(20)): {f"k{i}": "v" for i in range(10)},
    f"long={'x' * 257},{'k' * 65}=v,kept=1": {"kept": "1"},
}


@pytest.mark.parametrize("header", TAGS)
def test_tags_are_listed_and_bad_ones_dropped(client, header):
    request = post(client, {"X-Fal-Tags": header})
    wait(client, request)
    assert listed(client, request)["tags"] == TAGS[header]


def stored(server, request):
    with closing(sqlite3.connect(f"file:{server.data / 'stillmotion.db'}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT input, output FROM payloads WHERE request_id = ?", [request["request_id"]])
        return found.fetchone()


def test_payloads_that_are_not_to_be_stored(tmp_path):
    with serving(tmp_path, mock_seconds=0.1, sync_mode_seconds=2) as server, server.client() as client:
        request, kept = post(client, {"X-Fal-Store-IO": "0"}), submit(client)
        failed = post(client, {"X-Fal-Store-IO": "0"}, num_frames=3)
        for each in (request, kept, failed):
            wait(client, each)
        assert stored(server, request)[0] == stored(server, failed)[0] == "null"
        assert "prompt" in stored(server, kept)[0]
        assert (listed(client, request)["json_input"], listed(client, request)["json_output"]) == (None, None)
        # The result can be had again for a while: a program may miss the first answer.
        url = client.get(request["response_url"]).json()["video"]["url"]
        assert client.get(request["response_url"]).status_code == 200
        end = time.monotonic() + 20
        while client.get(request["response_url"]).status_code != 404:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert stored(server, request) == ("null", None)
        assert client.get(url).status_code == 200, "the file has its own lifetime"
        assert client.get(kept["response_url"]).status_code == 200
        assert client.get(failed["response_url"]).status_code == 422


def test_the_file_goes_when_its_caller_said(client):
    request = post(client, {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 2}'})
    wait(client, request)
    url = client.get(request["response_url"]).json()["video"]["url"]
    assert client.head(url).status_code == 200
    end = time.monotonic() + 20
    while client.get(url).status_code != 404:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert client.get(request["response_url"]).status_code == 200


@pytest.mark.parametrize("preference", ["{", "[]", '{"expiration_duration_seconds": "2"}', '{"initial_acl": {}}'])
def test_a_preference_that_says_nothing_is_ignored(client, preference):
    request = post(client, {"X-Fal-Object-Lifecycle-Preference": preference})
    assert "error" not in wait(client, request)


def test_a_lost_attempt_is_not_made_again(tmp_path):
    with serving(tmp_path, mock_slots=4, mock_seconds=1) as server:
        with server.client() as client:
            once = [post(client, {"X-Fal-No-Retry": value}) for value in ("1", "true", "Yes")]
            often = submit(client)
            while {client.get(each["status_url"]).json()["status"] for each in (*once, often)} != {"IN_PROGRESS"}:
                pass
        server.kill()
        server.start()
        with server.client() as client:
            for each in once:
                assert wait(client, each)["error_type"] == "runner_disconnected"
                assert client.get(each["response_url"]).status_code == 503
            assert "error" not in wait(client, often)


def test_behind_no_more_than_so_many(tmp_path):
    with serving(tmp_path, mock_slots=1, mock_seconds=30) as server, server.client() as client:
        running = submit(client)
        while client.get(running["status_url"]).json()["status"] == "IN_QUEUE":
            pass
        other = "fal-ai/ltx-2/image-to-video"
        for endpoint, length, status in (
            (ENDPOINT, 0, 200),  # nobody waits
            (ENDPOINT, 0, 429),
            (ENDPOINT, 1, 200),
            (ENDPOINT, 1, 429),
            (other, 0, 200),  # each endpoint has a queue of its own
            (ENDPOINT, 10**30, 200),
        ):
            answer = client.post(f"/queue/{endpoint}", json=small(), params={"fal_max_queue_length": length})
            assert answer.status_code == status, (endpoint, length, answer.text)
            if status == 429:
                assert answer.json()["error_type"] == answer.headers["x-fal-error-type"] == "queue_full"
                assert answer.headers["x-fal-needs-retry"] == "1"
        for wrong in ("-1", "many", "1.5", ""):
            answer = client.post(f"/queue/{ENDPOINT}", json=small(), params={"fal_max_queue_length": wrong})
            assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
