"""What an administrator sees and does over HTTP: queues, usage, keys, disks, and other keys' webhooks."""

from datetime import UTC, datetime, timedelta

import pytest
from pages_wire import WIDE, make_key

from serving import ENDPOINT, serving, small, submit, wait

PRO = "fal-ai/ltx-2/image-to-video"


def test_the_queue_is_counted_by_endpoint_and_priority(tmp_path):
    with serving(tmp_path, mock_seconds=0) as server, server.client() as client:
        client.post("/v1/engines/mock/drain")
        for headers in ({}, {}, {"x-fal-queue-priority": "low"}):
            client.post(f"/queue/{ENDPOINT}", json=small(), headers=headers)
        client.post(f"/queue/{PRO}", json={"prompt": "p", "image_url": small()["image_url"]})
        told = client.get("/v1/queue").json()
        assert (told["waiting"], told["running"]) == (4, 0)
        depths = {depth["endpoint_id"]: depth for depth in told["endpoints"]}
        assert list(depths) == [model["endpoint_id"] for model in client.get("/v1/models").json()["models"]]
        assert depths[ENDPOINT]["waiting"] == {"normal": 2, "low": 1}
        assert depths[PRO]["waiting"] == {"normal": 1, "low": 0}
        assert depths[ENDPOINT]["oldest_waiting_seconds"] >= depths[PRO]["oldest_waiting_seconds"] >= 0
        idle = depths["fal-ai/ltx-2.3-quality/image-to-video"]
        assert (idle["waiting"], idle["running"], idle["oldest_waiting_seconds"]) == ({"normal": 0, "low": 0}, 0, None)


def test_disks(client, pages_server):
    told = client.get("/v1/disk").json()
    assert told["data"]["folder"] == str(pages_server.data)
    for name in ("data", "models"):
        assert 0 < told[name]["free_bytes"] < told[name]["total_bytes"]
    assert told["reserve_bytes"] == 512 << 20


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A server that asks for keys, with its first admin key."""
    with serving(tmp_path_factory.mktemp("wide"), **WIDE) as server:
        yield server, make_key(server.data, "root", "--scope", "admin")


def test_keys_are_made_listed_and_revoked(wide):
    server, admin = wide
    with server.client(headers=admin) as client:
        created = client.post("/v1/keys", json={"alias": "alice"})
        assert (created.status_code, created.headers["cache-control"]) == (201, "no-store")
        key = created.json()
        assert key["key"] == f"{key['key_id']}:{key['key_secret']}"
        alice = {"authorization": f"Key {key['key']}"}
        assert client.get("/v1/requests", headers=alice).status_code == 200
        listed = client.get("/v1/keys")
        assert key["key_secret"] not in listed.text
        (found,) = [each for each in listed.json()["keys"] if each["key_id"] == key["key_id"]]
        assert (found["alias"], found["scope"], found["revoked_at"]) == ("alice", "api", None)
        assert listed.json()["required"] is True
        assert client.delete(f"/v1/keys/{key['key_id']}").status_code == 204
        # At once, also where it was just accepted.
        assert client.get("/v1/requests", headers=alice).status_code == 401
        assert client.delete(f"/v1/keys/{key['key_id']}").status_code == 404
        assert client.delete("/v1/keys/absent").status_code == 404
        assert key["key_secret"] not in server.log.read_text()


@pytest.mark.parametrize(
    "body", [{}, {"alias": "Not A Name"}, {"alias": 5}, {"alias": "a", "scope": "root"}, {"alias": "~samples"}]
)
def test_a_key_that_cannot_be(wide, body):
    server, admin = wide
    with server.client(headers=admin) as client:
        before = client.get("/v1/keys").json()
        assert client.post("/v1/keys", json=body).status_code == 400
        assert client.get("/v1/keys").json() == before


def test_the_last_admin_key_stays(wide):
    server, admin = wide
    with server.client(headers=admin) as client:
        admins = [
            key["key_id"]
            for key in client.get("/v1/keys").json()["keys"]
            if key["scope"] == "admin" and key["revoked_at"] is None
        ]
        own = admin["authorization"].split()[1].partition(":")[0]
        for id in admins:
            if id != own:
                assert client.delete(f"/v1/keys/{id}").status_code == 204
        refused = client.delete(f"/v1/keys/{own}")
        assert (refused.status_code, "last admin key" in refused.text) == (400, True)
        assert client.get("/v1/keys").status_code == 200


def test_only_an_administrator_may(wide):
    server, _ = wide
    bob = make_key(server.data, "bob")
    asked = [
        ("GET", "/v1/queue"),
        ("GET", "/v1/usage"),
        ("GET", "/v1/disk"),
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("DELETE", "/v1/keys/x"),
        ("GET", "/v1/bundles"),
        ("GET", "/v1/bundles/ltx-2-19b/plan"),
        ("POST", "/v1/bundles/ltx-2-19b/pull"),
        ("GET", "/v1/bundles/ltx-2-19b/pull"),
        ("DELETE", "/v1/bundles/ltx-2-19b/pull"),
        ("GET", "/v1/webhooks?key=alice"),
        ("GET", "/v1/webhooks/x?key=alice"),
        ("POST", "/v1/webhooks/x/redeliver?key=alice"),
    ]
    with server.client(headers=bob) as client:
        for method, path in asked:
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "authorization_error"), path


def test_usage_is_told_by_key_and_day(wide):
    server, admin = wide
    keys = {name: make_key(server.data, name) for name in ("carol", "dave")}
    with server.client() as client:
        for name, count in (("carol", 2), ("dave", 1)):
            client.headers.update(keys[name])
            for _ in range(count):
                wait(client, submit(client))
        client.headers.update(admin)
        # Midnight of the zone, not of UTC, parts the days.
        for zone, ahead in (("UTC", 0), ("Pacific/Kiritimati", 14)):
            days = client.get("/v1/usage", params={"timezone": zone}).json()["days"]
            today = datetime.now(UTC) + timedelta(hours=ahead)
            # A test that runs at midnight sees two days.
            assert {day["day"] for day in days} <= {
                (today - timedelta(minutes=minutes)).date().isoformat() for minutes in (0, 5)
            }
            for name, count in (("carol", 2), ("dave", 1)):
                lines = [line for day in days for line in day["results"] if line["key"] == name]
                assert {(line["endpoint_id"], line["unit"]) for line in lines} == {(ENDPOINT, "megapixels")}
                assert sum(line["request_count"] for line in lines) == sum(line["quantity"] for line in lines) == count
                assert sum(line["cost"] for line in lines) == pytest.approx(0.0018 * count)
                assert all(line["gpu_seconds"] > 0 for line in lines)
        past = datetime.now(UTC) - timedelta(days=2)
        assert client.get("/v1/usage", params={"end": past.isoformat()}).json() == {"days": []}
        for query in ({"start": "2020-01-01"}, {"start": "2990-01-01"}, {"timezone": "Nowhere/Else"}):
            assert client.get("/v1/usage", params=query).status_code == 400


def test_another_keys_webhooks(wide):
    server, admin = wide
    erin = make_key(server.data, "erin")
    with server.client(headers=erin) as client:
        hook = "http://127.0.0.1:9/hook?secret=5"
        answer = client.post(f"/queue/{ENDPOINT}", json=small(), params={"fal_webhook": hook})
        if answer.status_code == 400:  # a server for others calls no loopback
            answer = client.post(f"/queue/{ENDPOINT}", json=small(), params={"fal_webhook": "https://example.com/x"})
        request = answer.json()
        wait(client, request)
    with server.client(headers=admin) as client:
        assert client.get("/v1/webhooks").json()["webhooks"] == []
        (found,) = client.get("/v1/webhooks?key=erin").json()["webhooks"]
        assert found["request_id"] == request["request_id"]
        assert client.get(f"/v1/webhooks/{request['request_id']}?key=erin").status_code == 200
        assert client.get(f"/v1/webhooks/{request['request_id']}?key=carol").status_code == 404
        again = client.post(f"/v1/webhooks/{request['request_id']}/redeliver?key=erin")
        assert (again.status_code, again.json()["state"]) == (200, "pending")
