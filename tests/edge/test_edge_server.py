"""Starting, stopping and failing to start."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from edge_process import PATIENCE, ask, edge_process, read_response, read_to_end, statuses
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from stillmotion.edge import Address, Listener, serve
from stillmotion.errors import ConfigurationError
from stillmotion.tls import ensure_certificate

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
STREAM = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
DEAF = b"GET /deaf HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_it_stops_with_clients_of_every_kind(tmp_path: Path, loop: str) -> None:
    with contextlib.ExitStack() as stack:
        child = stack.enter_context(edge_process(tmp_path, loop=loop, tls=str(tmp_path / "tls")))
        assert child.loop.startswith(loop)
        trust = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))
        for _ in range(5):
            stack.enter_context(child.connect(1, trust))
        idle = stack.enter_context(child.connect(1, trust))
        idle.sendall(GET)
        read_response(idle)
        stack.enter_context(child.connect(1))  # in the middle of its handshake
        half_open = stack.enter_context(child.connect())
        half_open.sendall(b"GET / HTTP")
        streams = [stack.enter_context(child.connect(*where)) for where in ((0,), (1, trust), (1, trust))]
        deaf = stack.enter_context(child.connect())
        for each, request in zip([*streams, deaf], [STREAM, STREAM, STREAM, DEAF], strict=True):
            each.sendall(request)
            assert statuses(each.recv(65536)) == [200]
        url = child.urls[0].replace("http", "ws", 1)
        websocket = stack.enter_context(connect(url, proxy=None, open_timeout=PATIENCE))

        asked = time.monotonic()
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(PATIENCE) == 0
        assert time.monotonic() - asked < 3  # a hang, seen early: it takes one second
        assert child.wait_for("draining")
        assert child.wait_for("stopped")["lifespans"] == 1
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(PATIENCE)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012  # service restart
        read_to_end(streams[0])
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_are_answered_while_it_drains(tmp_path: Path, number: signal.Signals) -> None:
    with edge_process(tmp_path, drain=0.3) as child:
        child.process.send_signal(number)
        child.wait_for("draining")
        assert statuses(ask(child, b"GET / HTTP/1.0\r\n\r\n")) == [200]
        assert child.process.wait(PATIENCE) == 0
        with pytest.raises(ConnectionRefusedError):
            child.connect()


def test_a_response_that_is_nearly_there_is_finished(tmp_path: Path) -> None:
    with edge_process(tmp_path) as child, child.connect() as sock:
        sock.sendall(b"GET /brief HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end = time.monotonic() + PATIENCE
        while not child.marker.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        child.process.send_signal(signal.SIGTERM)
        status, headers, body = read_response(sock)
        assert (status, body) == (200, b'"done"')
        assert headers["connection"] == "close"
        assert child.process.wait(PATIENCE) == 0


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with edge_process(tmp_path, drain=3600) as child, child.connect() as sock:
        sock.sendall(DEAF)
        assert statuses(sock.recv(65536)) == [200]
        child.process.send_signal(signal.SIGTERM)
        child.wait_for("draining")
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(PATIENCE) == 0
        assert child.wait_for("stopped")
    assert (tmp_path / "stderr").read_text() == ""


def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    tls = ensure_certificate(tmp_path / "tls")
    trust = ssl.create_default_context(cafile=str(tls.ca))
    with edge_process(tmp_path, tls=str(tmp_path / "tls"), limits={"tls_renewal_seconds": 0.1}) as child:

        def shown() -> bytes | None:
            with child.connect(1, trust) as sock:
                assert isinstance(sock, ssl.SSLSocket)
                return sock.getpeercert(binary_form=True)

        before = shown()
        tls.certificate.unlink()
        end = time.monotonic() + PATIENCE
        while shown() == before:
            assert time.monotonic() < end
            time.sleep(0.05)


class Recorder:
    """An application that records its lifespan, and can fail or hang in it."""

    def __init__(self, failure: Exception | None = None, *, hangs: bool = False) -> None:
        self.failure = failure
        self.hangs = hangs
        self.log: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        self.log.append("starting")
        if self.failure:
            raise self.failure
        if self.hangs:
            await asyncio.sleep(3600)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.log.append("stopped")
        await send({"type": "lifespan.shutdown.complete"})


async def served(app: object, *listeners: Listener, stop_after: float | None = 0.0) -> list[Address]:
    """Serves in this process until a signal it sends itself; returns the addresses."""
    addresses: list[Address] = []
    loop = asyncio.get_running_loop()

    def on_ready(given: Sequence[Address]) -> None:
        addresses.extend(given)
        if stop_after is not None:
            loop.call_later(stop_after, os.kill, os.getpid(), signal.SIGTERM)

    async def drain() -> None:
        raise RuntimeError("a drain that fails does not keep the server up")

    async with asyncio.timeout(PATIENCE):
        await serve(app, listeners, on_ready=on_ready, drain=drain)  # type: ignore[arg-type]
    return addresses


async def test_signal_handlers_are_as_before() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    app = Recorder()
    await served(app, Listener("127.0.0.1", 0))
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
    assert app.log == ["starting", "stopped"]


async def test_real_ports_are_reported(tmp_path: Path) -> None:
    tls = ensure_certificate(tmp_path / "tls")
    plain, encrypted = await served(Recorder(), Listener("127.0.0.1", 0), Listener("localhost", 0, tls))
    assert plain.port != 0
    assert plain.url == f"http://127.0.0.1:{plain.port}"
    assert encrypted.url == f"https://localhost:{encrypted.port}"
    assert Address("::1", 80, False).url == "http://[::1]:80"


async def test_a_port_in_use_is_said_in_words_before_anything_starts() -> None:
    app = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = f"Cannot listen on http://127.0.0.1:{port}: another program already listens there"
        with pytest.raises(ConfigurationError, match=sentence):
            await served(app, Listener("127.0.0.1", 0), Listener("127.0.0.1", port))
    assert app.log == []


async def test_a_port_taken_while_the_application_starts() -> None:
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))
        port = rival.getsockname()[1]

        class Slow(Recorder):
            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                rival.listen()
                await super().__call__(scope, receive, send)

        app = Slow()
        with pytest.raises(ConfigurationError, match="another program already listens there"):
            await served(app, Listener("127.0.0.1", port))
    assert app.log == ["starting", "stopped"]


@pytest.mark.parametrize(
    ("listener", "sentence"),
    [
        (Listener("no-such-host.invalid", 80), "the host name 'no-such-host.invalid' is not known"),
        (Listener("192.0.2.1", 0), "this machine does not have that address"),
        (Listener("127.0.0.1", 70000), "ports go from 0 to 65535"),
    ],
)
async def test_other_listeners_that_cannot_be_had(listener: Listener, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        await served(Recorder(), listener)


async def test_what_the_application_raises_at_start_comes_out() -> None:
    with pytest.raises(ConfigurationError, match="no model"):
        await served(Recorder(ConfigurationError("no model")), Listener("127.0.0.1", 0))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette):  # type: ignore[no-untyped-def]
        raise ConfigurationError("no model either")
        yield

    with pytest.raises(ConfigurationError, match="no model either"):
        await served(Starlette(lifespan=lifespan), Listener("127.0.0.1", 0))


async def test_it_can_be_stopped_while_it_starts() -> None:
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    app = Recorder(hangs=True)
    assert await served(app, Listener("127.0.0.1", 0)) == []
    assert app.log == ["starting"]


async def test_nothing_is_left_in_a_process_that_lives_on() -> None:
    class Deaf(Recorder):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await super().__call__(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(1 << 24), "more_body": True})
            sent.set()
            await asyncio.sleep(3600)

    before = asyncio.all_tasks()
    sent = asyncio.Event()
    app = Deaf()
    ready: asyncio.Future[Sequence[Address]] = asyncio.get_running_loop().create_future()

    async def drain() -> None:
        await sent.wait()

    task = asyncio.create_task(serve(app, [Listener("127.0.0.1", 0)], on_ready=ready.set_result, drain=drain))
    async with asyncio.timeout(PATIENCE):
        (address,) = await ready
        with socket.create_connection((address.host, address.port)) as client:  # which never reads
            client.sendall(GET)
            os.kill(os.getpid(), signal.SIGTERM)
            await task
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == before
            own = psutil.Process().net_connections("tcp")
            assert not [each for each in own if each.laddr.port == address.port]


async def test_cancelling_closes_everything() -> None:
    app = Recorder()
    ready: asyncio.Future[Sequence[Address]] = asyncio.get_running_loop().create_future()

    async def drain() -> None:
        raise AssertionError("a cancelled server does not drain")

    task = asyncio.create_task(serve(app, [Listener("127.0.0.1", 0)], on_ready=ready.set_result, drain=drain))
    async with asyncio.timeout(PATIENCE):
        (address,) = await ready
        _, writer = await asyncio.open_connection(address.host, address.port)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        writer.close()
    with socket.socket() as again:
        assert again.connect_ex((address.host, address.port)) == errno.ECONNREFUSED
    assert app.log == ["starting", "stopped"]
