"""The history over HTTP: what it shows of a request is what the queue gave its caller."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from serving import ENDPOINT, data_uri, picture, small, submit, wait

PRO = "fal-ai/ltx-2.3/image-to-video"


def page(client, **query):
    answer = client.get("/v1/requests", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def only(client, **query):
    (item,) = page(client, **query)["items"]
    return item


def test_an_item_tells_what_the_result_tells(client, made):
    word = uuid4().hex
    request = made(prompt=f"Ein {word} Über dem FLUSS", seed=5)
    result = client.get(request["response_url"])
    video = result.json()["video"]
    item = only(client, q=f"{word.upper()} fluss ÜBER")
    assert item["request_id"] == request["request_id"]
    assert (item["endpoint_id"], item["state"], item["error"]) == (ENDPOINT, "done", None)
    assert item["prompt"] == f"Ein {word} Über dem FLUSS"
    assert item["seed"] == result.json()["seed"] == 5
    for name in ("width", "height", "num_frames", "fps", "duration", "content_type"):
        assert item[name] == video[name], name
    assert item["video_url"] == item["playable_url"] == video["url"]
    assert item["billable_units"] == result.headers["x-fal-billable-units"]
    assert item["cost"] == 0.0018
    assert item["model"] == result.headers["x-stillmotion-model"]
    assert item["created_at"] <= item["started_at"] <= item["ended_at"] <= datetime.now(UTC).isoformat()
    assert 0 < item["gpu_seconds"] <= item["seconds"] + 0.1
    for name in ("response_url", "status_url", "cancel_url"):
        assert item["urls"][name] == request[name]


def test_one_request_gives_back_exactly_what_was_sent(client, made):
    sent = {**small(prompt="all of it", seed=3), "image_url": data_uri(picture()), "unknown": {"kept": [1, "ü"]}}
    request = client.post(f"/queue/{ENDPOINT}", json=sent).json()
    wait(client, request)
    whole = client.get(f"/v1/requests/{request['request_id']}").json()
    assert whole["input"] == sent
    assert whole["output"] == client.get(request["response_url"]).json()
    assert {**whole, "input": 0, "output": 0} == {**only(client, q="all of it"), "input": 0, "output": 0}


def test_states_and_errors_are_told_as_the_queue_tells_them(client):
    word = uuid4().hex
    bad = client.post(f"/queue/{ENDPOINT}", json=small(prompt=word, num_frames=1)).json()
    wait(client, bad)
    refusal = client.get(bad["response_url"])
    item = only(client, q=word, state="failed")
    assert (item["error"]["status_code"], item["error"]["detail"]) == (422, refusal.json()["detail"])
    assert item["error"]["error_type"] == refusal.json()["detail"][0]["type"]
    assert (item["video_url"], item["poster_url"], item["seed"], item["width"], item["cost"]) == (*[None] * 4, 0.0)
    assert page(client, q=word, state="done,queued")["items"] == []


def test_filters_and_cursors(client, made):
    word = uuid4().hex
    requests = [made(prompt=f"{word} {number}")["request_id"] for number in range(5)]
    pinned = requests[2]
    assert client.put(f"/v1/requests/{pinned}/pin").json() == {"request_id": pinned, "pinned": True}
    assert client.put(f"/v1/requests/{pinned}/pin").status_code == 200
    found, cursor = [], None
    while True:
        got = page(client, q=word, limit=2, **({"cursor": cursor} if cursor else {}))
        assert len(got["items"]) <= 2
        assert got["has_more"] == (got["next_cursor"] is not None)
        found += [item["request_id"] for item in got["items"]]
        if not got["has_more"]:
            break
        cursor = got["next_cursor"]
    assert found == requests[::-1]
    assert only(client, q=word, pinned="true")["request_id"] == pinned
    assert [item["pinned"] for item in page(client, q=word, pinned="false")["items"]] == [False] * 4
    assert len(page(client, q=word, endpoint_id=f"{ENDPOINT},{PRO}")["items"]) == 5
    assert page(client, q=word, endpoint_id=PRO)["items"] == []
    middle = page(client, q=word)["items"][2]["created_at"]
    assert [each["request_id"] for each in page(client, q=word, start=middle)["items"]] == requests[:1:-1]
    assert [each["request_id"] for each in page(client, q=word, end=middle)["items"]] == requests[1::-1]
    assert client.delete(f"/v1/requests/{pinned}/pin").json()["pinned"] is False
    assert page(client, q=word, pinned="true")["items"] == []


def test_a_deleted_request_is_not_listed_any_more(client, made):
    word = uuid4().hex
    request = made(prompt=word)
    item = only(client, q=word)
    assert client.delete(f"/v1/models/requests/{request['request_id']}/payloads").status_code == 200
    assert page(client, q=word)["items"] == []
    for url in (item["video_url"], item["poster_url"], f"/v1/requests/{request['request_id']}"):
        assert client.get(url).status_code == 404
    for method in ("PUT", "DELETE"):
        assert client.request(method, f"/v1/requests/{request['request_id']}/pin").status_code == 404


@pytest.mark.parametrize("how", ["private", "sync_mode"])
def test_what_is_not_for_the_history_is_not_in_it(client, made, how):
    word, before = uuid4().hex, page(client, limit=1)["items"]
    if how == "private":
        request = made({"x-fal-store-io": "0"}, prompt=word, seed=77)
    else:
        request = made(prompt=word, sync_mode=True, seed=77)
    item = page(client, limit=1)["items"][0]
    assert item["request_id"] == request["request_id"] != before[0]["request_id"]
    assert (item["video_url"], item["playable_url"], item["poster_url"]) == (None, None, None)
    assert (item["width"], item["private"]) == (64, how == "private")
    assert (item["prompt"], item["seed"]) == ((None, None) if how == "private" else (word, 77))
    whole = client.get(f"/v1/requests/{item['request_id']}").json()
    assert whole["output"] is None
    assert (whole["input"] is None) == (how == "private")
    for what in ("poster", "playable"):
        assert client.get(f"/v1/requests/{item['request_id']}/{what}").status_code == 404
    files = client.get(request["response_url"]).json()["video"]["url"]
    assert files.startswith("http" if how == "private" else "data:")


@pytest.mark.parametrize(
    "query",
    [
        "q=" + "+".join("abcdefghi"),
        "q=" + "a" * 201,
        "q=a%00b",
        "state=gone",
        "pinned=maybe",
        "limit=0",
        "limit=101",
        "start=yesterday",
        "end=3000-01-01",
        "cursor=abc",
        "cursor=WzFd",
    ],
)
def test_a_question_that_cannot_be_understood_is_refused_by_name(client, query):
    answer = client.get(f"/v1/requests?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "validation_error"
    assert query.partition("=")[0] in answer.json()["error"]["message"]


def test_a_running_request_is_listed_with_where_to_follow_it(client):
    word = uuid4().hex
    request = submit(client, prompt=word)
    item = only(client, q=word)
    assert item["state"] in ("queued", "running", "done")
    assert client.get(item["urls"]["status_url"]).status_code in (200, 202)
    wait(client, request)
    assert only(client, q=word)["state"] == "done"
    assert client.get("/v1/requests?endpoint_id=a/b/c").status_code == 404
