"""What an administrator sees of everybody's requests, webhooks and files over HTTP, and who may."""

import time

import pytest
from pages_wire import WIDE, make_key

from serving import ENDPOINT, serving, small, submit, wait


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A server with keys whose one engine takes long; the headers of an administrator and of two others."""
    folder = tmp_path_factory.mktemp("slow-board")
    with serving(folder, **{**WIDE, "mock_seconds": 60, "mock_slots": 1}) as server:
        yield server, make_key(folder, "root", "--scope", "admin"), make_key(folder, "ann"), make_key(folder, "ben")


def until(look, seconds=30):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_everybodys_requests_are_seen_and_cancelled(slow):
    server, root, ann, ben = slow
    with server.client() as client:
        of_ann = client.post(
            f"/queue/{ENDPOINT}", json=small(num_inference_steps=20, prompt="private"), headers=ann
        ).json()
        until(lambda: client.get("/v1/queue/requests", headers=root).json()["running"])
        low = client.post(f"/queue/{ENDPOINT}", json=small(), headers={**ben, "x-fal-queue-priority": "low"}).json()
        normal = client.post(f"/queue/{ENDPOINT}", json=small(), headers=ben).json()
        client.post(f"/queue/{ENDPOINT}", json=small(num_frames=4), headers=ann)

        def board(**query):
            return client.get("/v1/queue/requests", headers=root, params=query)

        until(lambda: board().json()["running"][0]["progress"])
        told = board().json()
        (running,) = told["running"]
        assert (running["request_id"], running["key"], running["engine"]) == (of_ann["request_id"], "ann", "mock")
        assert (running["phase"], running["progress"]["total"], running["cancelling"]) == ("denoising", 20, False)
        assert 0 < running["progress"]["percent"] <= 100
        # As they are served: low priority last.
        assert [each["request_id"] for each in told["waiting"]] == [normal["request_id"], low["request_id"]]
        assert [each["priority"] for each in told["waiting"]] == ["normal", "low"]
        (failed,) = told["failed"]
        assert (failed["key"], failed["error"]["status_code"]) == ("ann", 422)
        assert "private" not in board().text
        assert len(board(limit=1).json()["waiting"]) == 1
        assert board(limit=0).status_code == 400

        for headers, status in ((ben, 403), ({}, 401)):
            assert client.get("/v1/queue/requests", headers=headers).status_code == status
            path = f"/v1/queue/requests/{of_ann['request_id']}/cancel"
            assert client.put(path, headers=headers).status_code == status
        for request in (low, of_ann):
            path = f"/v1/queue/requests/{request['request_id']}/cancel"
            answer = client.put(path, headers=root)
            assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
        until(lambda: client.get(f"/v1/requests/{of_ann['request_id']}", headers=ann).json()["state"] == "cancelled")
        assert client.put(path, headers=root).status_code == 400
        assert client.put("/v1/queue/requests/absent/cancel", headers=root).status_code == 404
        # Whoever asked for it is told as by a cancellation of its own.
        result = client.get(of_ann["response_url"].replace(of_ann["response_url"].split("/queue/")[0], ""), headers=ann)
        assert result.json()["error_type"] == "client_cancelled"
        client.put(f"/v1/queue/requests/{normal['request_id']}/cancel", headers=root)


def test_anybody_is_told_who_it_is(slow):
    server, root, ann, _ = slow
    with server.client() as client:

        def who(headers):
            return client.get("/v1/caller", headers=headers).json()

        assert who({}) == {"key": None, "key_id": None, "scope": None, "required": True}
        assert who({"authorization": "Key a:b"}) == who({})
        assert (who(root)["key"], who(root)["scope"]) == ("root", "admin")
        assert who(ann) == {
            "key": "ann",
            "key_id": ann["authorization"].split()[1].partition(":")[0],
            "scope": "api",
            "required": True,
        }


def test_on_loopback_everybody_is_the_administrator(client):
    told = client.get("/v1/caller").json()
    assert told == {"key": "local", "key_id": None, "scope": "admin", "required": False}


def test_webhooks_of_all_keys_with_their_last_answer(slow):
    server, root, ann, ben = slow
    with server.client() as client:
        asked = []
        for headers in (ann, ben):
            body, query = small(num_frames=4), {"fal_webhook": "https://example.invalid/x?secret=1"}
            asked.append(client.post(f"/queue/{ENDPOINT}", json=body, params=query, headers=headers).json())

        def every(headers):
            return client.get("/v1/webhooks?key=*", headers=headers)

        until(lambda: all(each["last"] for each in every(root).json()["webhooks"]))
        told = every(root).json()["webhooks"]
        assert [(each["key"], each["request_id"]) for each in told] == [
            ("ben", asked[1]["request_id"]),
            ("ann", asked[0]["request_id"]),
        ]
        assert {each["last"]["error"] for each in told} == {"unreachable"}
        assert "secret" not in every(root).text
        assert every(ann).status_code == 403
        assert [each["key"] for each in client.get("/v1/webhooks", headers=ann).json()["webhooks"]] == ["ann"]


def test_what_lies_on_the_disk_by_kind(client, made):
    def kinds():
        return {each["kind"]: each for each in client.get("/v1/disk").json()["kinds"]}

    before = kinds()
    made()
    client.post("/cdn/files/upload", content=b"x" * 1000, headers={"content-type": "image/png"})
    after = kinds()
    assert list(after) == ["videos", "copies", "posters", "uploads", "loras", "database"]
    grown = {kind: after[kind]["files"] - before[kind]["files"] for kind in after if kind != "database"}
    assert grown == {"videos": 1, "copies": 0, "posters": 1, "uploads": 1, "loras": 0}
    assert after["uploads"]["size_bytes"] - before["uploads"]["size_bytes"] == 1000
    assert after["videos"]["size_bytes"] > before["videos"]["size_bytes"]
    assert after["database"]["size_bytes"] > 0


def test_seconds_of_video_stay_when_the_video_is_deleted(tmp_path):
    with serving(tmp_path, mock_seconds=0) as server, server.client() as client:
        request = submit(client, num_frames=17)
        wait(client, request)

        def used():
            return [line["video_seconds"] for day in client.get("/v1/usage").json()["days"] for line in day["results"]]

        assert used() == [pytest.approx(17 / 25, abs=0.001)]
        assert client.delete(f"/v1/models/requests/{request['request_id']}/payloads").status_code == 200
        assert used() == [pytest.approx(17 / 25, abs=0.001)]


def test_what_is_configured_is_not_removed(tmp_path):
    models = tmp_path / "models"
    with serving(tmp_path / "data", models=models, model="all=ltx-2.3-22b") as server, server.client() as client:
        refused = client.delete("/v1/bundles/ltx-2.3-22b")
        assert (refused.status_code, "configured for all" in refused.text) == (400, True)
        for name in ("ltx-2-19b", "absent", "..%2Fdata"):
            assert client.delete(f"/v1/bundles/{name}").status_code == 404
        assert server.data.is_dir()
