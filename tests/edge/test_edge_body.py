"""Bounds on request bodies: over raw sockets, and against the ASGI messages themselves."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from typing import Any

import psutil
import pytest
from edge_process import PATIENCE, EdgeProcess, ask, read_response, read_to_end, statuses
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from stillmotion.edge import BodyLimit, by_prefix

MIB = 1 << 20
CHUNKED = b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def pour(sock: socket.socket, data: bytes, times: int) -> threading.Thread:
    """Sends in the background, until the server has had enough."""

    def send() -> None:
        with contextlib.suppress(OSError):
            for _ in range(times):
                sock.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def rss(edge: EdgeProcess) -> int:
    return int(psutil.Process(edge.process.pid).memory_info().rss)


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB])
def test_bodies_up_to_the_limit_pass(edge: EdgeProcess, size: int) -> None:
    for head in (
        b"POST /count HTTP/1.1\r\n" + CHUNKED,
        b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size,
    ):
        body = bytes(size)
        encoded = (chunk(body) if body else b"") + b"0\r\n\r\n" if b"chunked" in head else body
        with edge.connect() as sock:
            sock.sendall(head + encoded)
            code, _, answer = read_response(sock)
            assert code == 200
            assert json.loads(answer)["size"] == size


def test_a_declared_length_above_the_limit_is_refused_unread(edge: EdgeProcess) -> None:
    started = ask(edge, b"GET / HTTP/1.0\r\n\r\n").split(b'"calls": ')[1].split(b",")[0]
    answer = ask(edge, b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MIB + 1))
    assert statuses(answer) == [413]
    assert b"connection: close" in answer
    assert b'{"detail": "The request body is larger than 1048576 bytes"}' in answer
    after = ask(edge, b"GET / HTTP/1.0\r\n\r\n").split(b'"calls": ')[1].split(b",")[0]
    assert int(after) == int(started) + 1  # the question itself: the application never saw the refused request


def test_a_client_that_waits_for_continue_is_refused_at_once(edge: EdgeProcess) -> None:
    head = b"POST /count HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    assert statuses(ask(edge, head % (MIB + 1))) == [413]
    with edge.connect() as sock:
        sock.sendall(head % 5)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"12345")
        assert read_response(sock)[0] == 200


def test_an_endless_body_is_refused_and_not_kept(edge: EdgeProcess) -> None:
    before = rss(edge)
    with edge.connect() as sock:
        sock.sendall(b"POST /count HTTP/1.1\r\n" + CHUNKED)
        thread = pour(sock, chunk(bytes(65536)), 4096)  # 256 MiB, if it took them
        code, headers, _ = read_response(sock)
        assert code == 413
        assert headers["connection"] == "close"
        read_to_end(sock)
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert rss(edge) - before < 16 * MIB


def test_a_large_body_streams_through(edge: EdgeProcess) -> None:
    before = rss(edge)
    with edge.connect() as sock:
        sock.sendall(b"POST /sink HTTP/1.1\r\n" + CHUNKED)
        thread = pour(sock, chunk(bytes(MIB)), 96)
        thread.join(PATIENCE)
        assert rss(edge) - before < 16 * MIB
        sock.sendall(b"0\r\n\r\n")
        code, _, body = read_response(sock)
    assert code == 200
    assert json.loads(body)["size"] == 96 * MIB


def test_the_answer_reaches_a_client_that_sends_first(edge: EdgeProcess) -> None:
    body = bytes(MIB + MIB // 2)  # half a mebibyte too long: within what is read after the answer
    with edge.connect() as sock:
        sock.sendall(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.1)
        assert statuses(read_to_end(sock)) == [413]


def test_slow_bodies_are_cut(edge: EdgeProcess) -> None:
    framings = ((b"Content-Length: 1000", b"x"), (b"Transfer-Encoding: chunked", chunk(b"x")))
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        drips = {}
        for framing, drip in framings:
            sock = stack.enter_context(edge.connect())
            sock.sendall(b"POST /count HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
            drips[sock] = drip

        def send() -> None:
            while not stop.wait(0.05):
                for sock, drip in drips.items():
                    with contextlib.suppress(OSError):
                        sock.sendall(drip)

        thread = threading.Thread(target=send)
        thread.start()
        stack.callback(thread.join, PATIENCE)
        stack.callback(stop.set)
        answers = [read_response(sock) for sock in drips]
        for code, headers, body in answers:
            assert code == 400  # not 408, which fal's client answers with the same request again
            assert headers["connection"] == "close"
            assert json.loads(body) == {"detail": "The request body arrived too slowly"}
        assert [read_to_end(sock) for sock in drips] == [b"", b""]


def test_no_body_takes_for_ever(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(b"POST /sink HTTP/1.1\r\n" + CHUNKED)
        code = None
        with contextlib.suppress(OSError):
            sock.settimeout(0.05)
            for _ in range(400):  # fast enough at any moment, 20 s in all
                sock.sendall(chunk(bytes(1024)))
                with contextlib.suppress(TimeoutError):
                    code = statuses(sock.recv(65536))
                    break
    assert code == [400]


class Client:
    """The ASGI side of a client: a body in parts, each after a pause."""

    def __init__(self, parts: list[bytes], pause: float = 0.0, *, ends: bool = True) -> None:
        self.parts = list(parts)
        self.pause = pause
        self.ends = ends
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        await asyncio.sleep(self.pause)
        if not self.parts:
            await asyncio.sleep(3600)
        part = self.parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts) or not self.ends}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return next(int(each["status"]) for each in self.sent if each["type"] == "http.response.start")


def scope(path: str = "/", **headers: str) -> Scope:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "headers": pairs}


async def read_all(receive: Receive, pause: float = 0.0) -> list[Message]:
    messages = [await receive()]
    while messages[-1].get("more_body"):
        await asyncio.sleep(pause)
        messages.append(await receive())
    return messages


async def test_an_application_that_is_slow_to_read_does_not_cut_off_its_client() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive, pause=0.05)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    client = Client([b"x"] * 6)
    await BodyLimit(app, lambda scope: 100, grace_seconds=0.1)(scope(), client.receive, client.send)
    assert client.status == 200


async def test_the_application_sees_a_client_that_left_and_cannot_answer() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(await read_all(receive))
        seen.append(await receive())
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"mine"})
        raise RuntimeError("what an application does when its client left")

    client = Client([b"12345", b"67890", b"!", b"?"])
    await BodyLimit(app, lambda scope: 10)(scope(), client.receive, client.send)
    assert [message["type"] for message in seen] == ["http.request"] * 2 + ["http.disconnect"] * 2
    assert client.status == 413
    assert [each.get("more_body", False) for each in client.sent if each["type"] == "http.response.body"] == [
        True,
        False,
    ]
    assert client.parts == []  # read after the answer


async def test_waiting_for_the_client_to_leave_is_not_waiting_for_its_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    client = Client([b"x"])
    await BodyLimit(app, lambda scope: 10, grace_seconds=0.05)(scope(), client.receive, client.send)
    assert client.status == 200


async def test_nothing_is_read_from_a_client_that_waits_for_continue() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("not reached")

    for expect, left in (("100-Continue", [b"x"]), ("", [])):
        client = Client([b"x"])
        await BodyLimit(app, lambda scope: 10)(scope(content_length="11", expect=expect), client.receive, client.send)
        assert client.status == 413
        assert client.parts == left


async def test_errors_of_the_application_pass() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("mine")

    client = Client([b"x"])
    with pytest.raises(RuntimeError, match="mine"):
        await BodyLimit(app, lambda scope: 10)(scope(), client.receive, client.send)


async def test_a_response_that_has_begun_is_left_cut_off() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await read_all(receive)
        await send({"type": "http.response.body", "body": b"complete"})

    client = Client([b"x" * 11])
    await BodyLimit(app, lambda scope: 10)(scope(), client.receive, client.send)
    assert [each["type"] for each in client.sent] == ["http.response.start"]


async def test_what_is_no_http_request_passes() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["type"], receive, send))

    client = Client([])
    for kind in ("lifespan", "websocket"):
        await BodyLimit(app, lambda scope: 0)({"type": kind}, client.receive, client.send)
    assert seen == [(kind, client.receive, client.send) for kind in ("lifespan", "websocket")]


@given(parts=st.lists(st.binary(max_size=40), min_size=1, max_size=12), limit=st.integers(0, 200))
def test_the_limit_is_exact_however_the_body_is_cut(parts: list[bytes], limit: int) -> None:
    received: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        messages = await read_all(receive)
        if messages[-1]["type"] == "http.request":
            received.extend(message["body"] for message in messages)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    client = Client(parts)
    asyncio.run(BodyLimit(app, lambda scope: limit)(scope(), client.receive, client.send))
    whole = b"".join(parts)
    assert client.status == (200 if len(whole) <= limit else 413)
    assert b"".join(received) == (whole if len(whole) <= limit else b"")


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/", 1),
        ("/queue", 2),
        ("/queue/a/b", 2),
        ("/queuex", 1),
        ("/queue/big", 3),
        ("/queue/big/x", 3),
        ("//queue", 1),
    ],
)
def test_the_longest_prefix_wins(path: str, size: int) -> None:
    assert by_prefix({"/queue": 2, "/queue/big/": 3}, 1)(scope(path)) == size
