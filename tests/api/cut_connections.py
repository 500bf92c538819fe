"""Clients that go away between their request and its reply, and what the server has stored of them."""

import http.client
import json
import socket
import sqlite3
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

from serving import ENDPOINT, Server

QUEUE = f"/queue/{ENDPOINT}"
PATIENCE = 20.0  # seconds; a bound for hangs, not an expectation


@contextmanager
def held(server: Server) -> Iterator[None]:
    """Nothing is committed within the block: what is submitted waits, read but not answered. At most for five
    seconds, after which the server gives up."""
    with closing(sqlite3.connect(server.data / "stillmotion.db", isolation_level=None, timeout=PATIENCE)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


def stored(server: Server, prompt: str) -> list[str]:
    """Ids of the requests with that prompt, the oldest first."""
    query = (
        "SELECT id FROM requests JOIN payloads ON request_id = id "
        "WHERE json_extract(input, '$.prompt') = ? ORDER BY requests.seq"
    )
    return [id for (id,) in rows(server, query, prompt)]


def the_only(server: Server, prompt: str) -> str:
    """Id of the one request with that prompt, as soon as it is stored."""
    until(lambda: stored(server, prompt))
    (id,) = stored(server, prompt)
    return id


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def rows(server: Server, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{server.data / 'stillmotion.db'}?mode=ro", uri=True)) as database:
        found: list[tuple[Any, ...]] = database.execute(query, values).fetchall()
    return found


def request_bytes(
    server: Server, body: Mapping[str, Any], headers: Mapping[str, str] | None = None, path: str = QUEUE
) -> bytes:
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(server.http).netloc}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
    if parts.scheme == "http":
        return sock
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=parts.hostname)


def send(
    server: Server,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    url: str = "",
    path: str = QUEUE,
) -> socket.socket:
    """A submit on a connection of its own."""
    sock = connect(url or server.http)
    sock.sendall(request_bytes(server, body, headers, path))
    return sock


def receive(sock: socket.socket) -> httpx2.Response:
    """The answer. Raises OSError, of which an answer cut short is one."""
    response = http.client.HTTPResponse(sock)
    try:
        response.begin()
        return httpx2.Response(response.status, headers=response.getheaders(), content=response.read())
    except http.client.HTTPException as error:
        raise ConnectionError(*error.args) from error


def settle(client: httpx2.Client) -> None:
    """Two turns of the server's event loop and more: what was sent before is read, what was closed is known."""
    for _ in range(2):
        assert client.get("/health/live").status_code == 200


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    """The edge takes this for leaving: nothing is answered."""
    sock.shutdown(socket.SHUT_WR)
    with sock:
        assert sock.recv(1) == b""


CUTS = {"close": close, "reset": reset, "half close": half_close}


def lose_reply(
    server: Server,
    client: httpx2.Client,
    body: Mapping[str, Any],
    cut: Callable[[socket.socket], None] = close,
    *,
    headers: Mapping[str, str] | None = None,
    url: str = "",
    path: str = QUEUE,
) -> None:
    """A submit whose client leaves after the server has read it and before it is answered."""
    with held(server):
        sock = send(server, body, headers, url=url, path=path)
        settle(client)
        cut(sock)
        settle(client)
