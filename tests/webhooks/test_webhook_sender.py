"""One POST against receivers that do everything wrong, and the rule for who may be called."""

import asyncio
import contextlib

import pytest

from stillmotion.app import webhook_sender
from stillmotion.errors import BadRequest
from stillmotion.files.addresses import AllowList
from stillmotion.service.webhook_sender import WebhookSender
from stillmotion.settings import Settings
from stillmotion.tls import ensure_certificate

LOOPBACK = AllowList.parse(["127.0.0.0/8", "::1"])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(*parts: bytes | float, tls=None):
    """A URL that answers with ``parts``, seconds among them waited for, then holds the connection; its connections."""
    connections, tasks = [], set()

    async def serve(reader, writer):
        connections.append(writer)
        tasks.add(asyncio.current_task())
        try:
            if await reader.readexactly(1) == b"\x16":
                writer.write(b"HTTP/1.1 400 This is no TLS\r\n\r\n")
                return await writer.drain()
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                if isinstance(part, float):
                    await asyncio.sleep(part)
                else:
                    writer.write(part)
                    await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", connections
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def post(url, *, timeout=5.0, sender=None, body=b"{}"):
    async with asyncio.timeout(20):
        answer = await (sender or WebhookSender(LOOPBACK)).post(url, [("X-Test", "1")], body, timeout=timeout)
    return answer.status or answer.error


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([OK], 200),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], 200),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"], 200),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000], 200),
        ([b"SSH-2.0-OpenSSH_9.9\r\n\r\n"], "no_answer"),
        ([b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"], "no_answer"),
        ([], "timeout"),
        ([b"HTTP/1.1 200 OK\r\n", 5.0], "timeout"),
    ],
    ids=["plain", "continue", "empty", "cut off", "endless", "no HTTP", "broken head", "silent", "half a head"],
)
async def test_the_status_decides_and_nothing_hangs(parts, expected):
    async with answering(*parts) as (url, _):
        assert await post(url, timeout=0.3 if expected == "timeout" else 5.0) == expected


async def test_a_large_body_is_sent_whole_and_an_early_answer_is_heard():
    async with answering(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n") as (url, _):
        assert await post(url, body=b"x" * 8_000_000) == 413


async def test_who_is_not_there():
    async with answering(OK) as (url, _):
        assert await post(url.replace("http:", "https:")) == "tls_error"
    assert await post(url) == "unreachable"


async def test_certificates_are_verified(tmp_path):
    tls = ensure_certificate(tmp_path)
    async with answering(OK, tls=tls.server_context()) as (url, _):
        url = url.replace("http://127.0.0.1", "https://localhost")
        assert await post(url) == "tls_error"
        sender = webhook_sender(Settings(host="localhost", webhook_ca_file=tls.ca))
        assert await post(url, sender=sender) == 200


async def test_a_name_is_judged_by_every_one_of_its_addresses():
    async def resolve(host, port):
        return {"mixed.test": ["8.8.8.8", "127.0.0.1"], "private.test": ["10.0.0.1"], "loop.test": ["127.0.0.1"]}[host]

    strict = WebhookSender(AllowList.parse([]), resolve=resolve)
    async with answering(OK) as (url, connections):
        for host in ("mixed.test", "private.test", "loop.test"):
            there = url.replace("127.0.0.1", host)
            strict.target(there)  # nothing to be said before it is looked up
            assert await post(there, sender=strict) == "unreachable"
        assert connections == []
        named = WebhookSender(AllowList.parse(["loop.test"]), resolve=resolve)
        assert await post(url.replace("127.0.0.1", "loop.test"), sender=named) == 200


@pytest.mark.parametrize(
    ("host", "allow", "url", "expected"),
    [
        ("127.0.0.1", (), "http://127.0.0.1:9000/", True),
        ("localhost", (), "http://localhost:9000/", True),
        ("::1", (), "http://[::1]:9000/", True),
        ("127.0.0.1", (), "http://10.0.0.1/", False),
        ("10.0.0.5", (), "http://127.0.0.1/", False),
        ("10.0.0.5", (), "http://localhost/", False),
        ("10.0.0.5", (), "http://[::1]/", False),
        ("10.0.0.5", (), "http://10.0.0.6/", False),
        ("10.0.0.5", ("10.0.0.0/8",), "http://10.0.0.6/", True),
        ("10.0.0.5", ("10.0.0.6:9000",), "http://10.0.0.6:9000/", True),
        ("10.0.0.5", ("10.0.0.6:9000",), "http://10.0.0.6:9001/", False),
        ("10.0.0.5", ("0.0.0.0/0",), "http://169.254.169.254/", False),
        ("10.0.0.5", (), "https://8.8.8.8/", True),
        ("10.0.0.5", (), "https://8.8.8.8:9000/", False),
        ("10.0.0.5", ("8.8.8.8:9000",), "https://8.8.8.8:9000/", True),
        ("10.0.0.5", (), "https://example.com/", True),
    ],
)
def test_a_server_calls_what_its_settings_allow(host, allow, url, expected):
    sender = webhook_sender(Settings(host=host, webhook_allow=allow))
    if expected:
        assert str(sender.target(url)) == url
    else:
        with pytest.raises(BadRequest, match="STILLMOTION_WEBHOOK_ALLOW"):
            sender.target(url)
