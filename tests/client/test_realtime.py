"""Realtime connections on the wire: messages, bounds, who may open one, and how they end."""

import json
import time

import msgpack
import pytest
from realtime_wire import PATIENCE, hear, realtime, say
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serving import APP, serving, small
from stillmotion.service.keys import new_key
from stillmotion.store import keys as rows
from stillmotion.store.sqlite_beside import write_beside

ENDPOINTS = (
    "fal-ai/ltx-2/image-to-video",
    "fal-ai/ltx-2.3/image-to-video",
    "fal-ai/ltx-2-19b/image-to-video",
    "fal-ai/ltx-2.3-22b/image-to-video/lora",
    "fal-ai/ltx-2.3-quality/image-to-video",
)


def make_key(data, name):
    key, transaction = new_key(name, "api")
    write_beside(data / "stillmotion.db", transaction)
    return key


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("realtime"), mock_seconds=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """One request at a time, and none of them ends by itself while a test lasts."""
    with serving(tmp_path_factory.mktemp("slow"), mock_seconds=600, mock_slots=1) as server:
        yield server


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """127.1 is 127.0.0.1 to the system and an address like any other to us: one that asks for keys."""
    with serving(tmp_path_factory.mktemp("wide"), host="127.1", safety="off", mock_seconds=0.05) as server:
        yield server


def test_every_endpoint_has_one(server):
    for endpoint in ENDPOINTS:
        with realtime(server, endpoint) as connection:
            say(connection, {"prompt": "a test"}, binary=True)
            answer = hear(connection)
            assert (answer["error"], answer["detail"][0]["loc"]) == ("missing", ["body", "image_url"])


def test_answers_come_in_the_order_and_in_the_form_of_their_inputs(server):
    with realtime(server) as connection:
        for number in range(6):
            fields = {"num_frames": -1} if number % 3 == 2 else {"seed": number}
            say(connection, {**small(**fields), "request_id": str(number)}, binary=number % 2 == 1)
        for number in range(6):
            frame = connection.recv(PATIENCE)
            failed = number % 3 == 2
            assert isinstance(frame, bytes) == (number % 2 == 1 and not failed)
            answer = msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame)
            assert answer["request_id"] == str(number)
            assert answer.get("type") == ("x-fal-error" if failed else None)


def test_requests_of_a_connection_are_requests_like_any_other(server):
    with realtime(server) as connection, server.client() as client:
        say(connection, small())
        id = hear(connection)["request_id"]
        status = client.get(f"/queue/{APP}/requests/{id}/status").json()
        assert status["status"] == "COMPLETED"
        listed = client.get("/v1/models/requests/by-endpoint", params={"request_id": id}).json()
        assert [item["status_code"] for item in listed["items"]] == [200]


@pytest.mark.parametrize("binary", [False, True])
def test_an_output_that_is_not_kept_comes_inside_the_message(server, binary):
    with realtime(server) as connection, server.client() as client:
        say(connection, small(sync_mode=True), binary=binary)
        answer = hear(connection)
        assert answer["video"]["url"].startswith("data:video/mp4;base64,")
        end = time.monotonic() + PATIENCE
        while client.get(f"/queue/{APP}/requests/{answer['request_id']}").status_code != 404:
            assert time.monotonic() < end


def test_the_connections_own_headers_say_how_its_requests_are_handled(server):
    headers = {"x-fal-object-lifecycle-preference": json.dumps({"initial_acl": {"default": "hide"}})}
    with realtime(server, headers=headers) as connection, server.client() as client:
        say(connection, small())
        url = hear(connection)["video"]["url"]
        assert client.get(url).status_code == 404
        assert client.get(url, headers={"authorization": "Key any:thing"}).status_code == 200


BAD_FRAMES = [
    "",
    "{",
    "[]",
    '{"seed": NaN}',
    '{"a": "\\u0000"}',
    "[" * 40 + "]" * 40,
    '{"request_id": 7}',
    json.dumps({"request_id": "x" * 129}),
    b"",
    b"\xc1",
    b"\x81",
    msgpack.packb([1]),
    msgpack.packb("text"),
    msgpack.packb({"a": b"bytes"}),
    msgpack.packb({"a": float("nan")}),
    msgpack.packb({"a": msgpack.ExtType(5, b"x")}),
    msgpack.packb({"a": msgpack.Timestamp(1)}),
    msgpack.packb({1: 2}),
    msgpack.packb({b"a": 2}),
    b"\x81\xa1a\xa1\xff",
    b"\x81\xa1a" + b"\x91" * 40 + b"\xc0",
    b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0",
    b"\x81\xa1a\xdd" + (20_000).to_bytes(4) + b"\x90" * 20_000,
    b"\x81\xa1a\xdd\xff\xff\xff\xff",
]


def test_what_is_no_input_is_told_and_the_connection_goes_on(server):
    with realtime(server) as connection:
        for frame in BAD_FRAMES:
            connection.send(frame)
            answer = json.loads(connection.recv(PATIENCE))
            assert (answer["type"], answer["error"], answer["status_code"]) == ("x-fal-error", "json_invalid", 422), (
                frame
            )
        say(connection, small())
        assert hear(connection)["video"]


def closing(connection, message=None):
    """The code and reason with which the server closes, perhaps because of ``message``."""
    with pytest.raises(ConnectionClosed) as closed:
        exchange(connection, message)
    return closed.value.rcvd.code, closed.value.rcvd.reason


def exchange(connection, message):
    if message is not None:
        connection.send(message)
    while True:
        connection.recv(PATIENCE)


def refusal(*arguments, **options):
    with pytest.raises(InvalidStatus) as refused, realtime(*arguments, **options):
        pass
    response = refused.value.response
    return response.status_code, json.loads(response.body) if response.body else None


def test_what_is_refused_before_it_begins(server):
    assert refusal(server, "fal-ai/none")[0] == 404
    assert refusal(server, f"{APP}/none")[1] == {"detail": "Path /none not found"}
    for most in ("0", "61", "x", "-1", "1.5"):
        status, body = refusal(server, query=f"?max_buffering={most}")
        assert (status, body["error_type"]) == (400, "bad_request")
    assert refusal(server, headers={"x-fal-queue-priority": "first"})[0] == 400
    status, body = refusal(server, origin="https://evil.example")
    assert (status, body["detail"]) == (403, "Requests from that origin are not allowed")
    assert refusal(server, headers={"origin": "null"})[0] == 403
    with realtime(server, origin=server.http) as connection:
        say(connection, small())
        assert hear(connection)["video"]


def test_a_token_or_a_key_opens_it_and_nothing_else(wide):
    key = make_key(wide.data, "alice")
    alice = {"authorization": f"Key {key}"}
    assert refusal(wide)[0] == 401
    assert refusal(wide, headers={"authorization": "Key no:body"})[0] == 401
    with wide.client() as client:
        asked = {"allowed_apps": [APP.partition("/")[2]], "token_expiration": 60}
        token = client.post("/rest/tokens/", json=asked, headers=alice).json()
        status, body = refusal(wide, "fal-ai/ltx-2/image-to-video", query=f"?fal_jwt_token={token}")
        assert (status, body["detail"]) == (403, "The token is not for fal-ai/ltx-2/image-to-video")
        for options in ({"headers": alice}, {"query": f"?fal_jwt_token={token}"}):
            with realtime(wide, **options) as connection:
                say(connection, small())
                id = hear(connection)["request_id"]
            bob = {"authorization": f"Key {make_key(wide.data, 'bob')}"}
            assert client.get(f"/queue/{APP}/requests/{id}", headers=alice).status_code == 200
            assert client.get(f"/queue/{APP}/requests/{id}", headers=bob).status_code == 404
    with realtime(wide, query=f"?fal_jwt_token={token}x") as connection:
        assert hear(connection) == {"status": "error", "error": "Unauthorized"}
        assert closing(connection) == (1008, "Unauthorized")
    log = wide.log.read_text()
    assert token not in log
    assert key.partition(":")[2] not in log


@pytest.mark.parametrize("by", ["key", "token"])
def test_a_revoked_key_ends_an_open_connection(wide, by):
    key = make_key(wide.data, "carol")
    options = {"headers": {"authorization": f"Key {key}"}}
    if by == "token":
        with wide.client() as client:
            token = client.post("/rest/tokens/", json={"allowed_apps": [APP]}, **options).json()
        options = {"query": f"?fal_jwt_token={token}"}
    with realtime(wide, **options) as connection:
        say(connection, small())
        assert hear(connection)["video"]
        assert write_beside(wide.data / "stillmotion.db", rows.revoke(key.partition(":")[0], now=time.time()))
        say(connection, small())
        assert hear(connection) == {"status": "error", "error": "Unauthorized"}
        assert closing(connection) == (1008, "Unauthorized")


def ended(client):
    """The status codes of what has ended on the slow server."""
    items = client.get("/v1/models/requests/by-endpoint", params={"limit": 100}).json()["items"]
    return [item["status_code"] for item in items]


def running(client):
    """What the slow server works at: one request at most."""
    return client.get("/v1/engines").json()["engines"][0]["running"]


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("leave", ["close", "cut"])
def test_what_is_not_answered_ends_with_its_connection(slow, leave):
    with slow.client() as client:
        before = len(ended(client))
        with realtime(slow) as connection:
            for _ in range(3):
                say(connection, small())
            until(lambda: running(client))
            if leave == "cut":
                connection.socket.close()
        until(lambda: len(ended(client)) >= before + 3 and not running(client))
        assert ended(client)[:3] == [499, 499, 499]


def test_newer_inputs_count_more_if_the_client_says_so(slow):
    with slow.client() as client, realtime(slow, query="?max_buffering=1") as connection:
        before = len(ended(client))
        for number in range(4):
            say(connection, {**small(), "request_id": str(number)})
            until(lambda: running(client))
        until(lambda: len(ended(client)) == before + 2)
        client.put(f"/queue/{APP}/requests/{running(client)[0]}/cancel")
        told = [hear(connection) for _ in range(3)]
        assert (told[0]["error"], told[0]["request_id"]) == ("client_cancelled", "0")
        dropped = {"type": "x-fal-message", "action": "dropped"}
        assert told[1:] == [{**dropped, "request_id": "1"}, {**dropped, "request_id": "2"}]
        # The newest one is worked at now.
        until(lambda: running(client))


def test_a_connection_has_so_many_inputs_at_once_and_no_more(slow):
    with slow.client() as client, realtime(slow) as connection:
        say(connection, small())
        until(lambda: running(client))
        for _ in range(60):
            say(connection, {})
        refused = hear(connection)
        assert (refused["error"], refused["reason"]) == (
            "queue_full",
            "60 inputs of this connection are not answered yet.",
        )


def test_a_message_has_a_largest_size_however_small_it_is_sent(server):
    with realtime(server, compression="deflate") as connection:
        assert closing(connection, b"\0" * ((16 << 20) + 1))[0] == 1009
    # Sent as it is, most of it is on its way when the server closes, and a reset may overtake the reason.
    with realtime(server, compression=None) as connection, pytest.raises(ConnectionClosed):
        exchange(connection, b"\0" * ((16 << 20) + 1))


def test_a_server_that_stops_says_so(tmp_path):
    with serving(tmp_path, mock_seconds=600, mock_slots=1, drain_seconds=0.2) as server:
        with server.client() as client, realtime(server) as connection:
            say(connection, small())
            until(lambda: running(client))
            server.process.terminate()
            assert closing(connection)[0] == 1012
        assert server.process.wait(20) == 0
