"""A forward proxy on loopback that takes fal's names for itself: what ``HTTPS_PROXY`` names under ``exec``.

``CONNECT`` to one of fal's names is answered with a certificate for it, and what is inside the tunnel goes to this
project's server, and nowhere else if that is gone. Any other tunnel, and any plain request, goes where it was meant to.
Byte for byte in either case: there is no HTTP here beyond a request's first lines.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from stillmotion.edge.fal_hosts import is_fals
from stillmotion.edge.upstream import HEAD_BYTES, Upstream

HEAD_SECONDS = CONNECT_SECONDS = 30.0
CLOSE_SECONDS = 5.0
CHUNK = 1 << 16

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_BAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_OFFLINE = b"HTTP/1.1 403 Offline\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_UNREACHABLE = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Ports:
    """Of a running proxy, on 127.0.0.1."""

    proxy: int
    tls: int
    """Where fal's names are served without a tunnel, for programs that can be sent there but heed no proxy."""


@dataclass(frozen=True, slots=True)
class Outside:
    """How what is not for fal's names goes on."""

    offline: bool = False
    """This machine alone may be reached; the rest is refused with 403."""
    upstream: Upstream | None = None
    """The proxy for tunnels to other machines."""

    def permits(self, host: str) -> bool:
        return not self.offline or _is_here(host)

    async def open(self, host: str, port: int, *, tunnel: bool) -> Pair:
        if tunnel and self.upstream is not None and not _is_here(host):
            return await self.upstream.connect(host, port)
        return await asyncio.open_connection(host, port)


@asynccontextmanager
async def connect_proxy(
    server: tuple[str, int],
    trust: ssl.SSLContext,
    certificate: ssl.SSLContext,
    *,
    server_hostname: str = "localhost",
    outside: Outside | None = None,
) -> AsyncIterator[Ports]:
    """Runs the proxy. Open tunnels are cut at the end.

    ``server``: host and port of the server's TLS listener, whose name ``server_hostname`` is verified with ``trust``.
    ``certificate``: a server context for fal's names.
    """

    async def to_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await _reach(asyncio.open_connection(*server, ssl=trust, server_hostname=server_hostname))
        if far is not None:
            await _join((reader, writer), far)

    async with _listening(to_server, ssl=certificate) as inner:

        async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _answer((reader, writer), inner, outside or Outside())

        async with _listening(asked) as port:
            yield Ports(port, inner)


@asynccontextmanager
async def _listening(handler: Handler, **options: object) -> AsyncIterator[int]:
    open_connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        open_connections.add(task)
        try:
            await handler(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
            pass  # either side may leave at any moment, or say what is no HTTP
        except asyncio.CancelledError:
            # The end of the proxy; asyncio's streams would print a cancelled handler as an error.
            writer.transport.abort()
        finally:
            await _close(writer)
            open_connections.discard(task)

    # ``options`` is ``ssl`` or nothing, which the stubs cannot know.
    listener = await asyncio.start_server(handle, "127.0.0.1", 0, limit=HEAD_BYTES, **options)  # type: ignore[arg-type]
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)


async def _answer(near: Pair, inner: int, outside: Outside) -> None:
    """One connection to the proxy; tunnels to fal's names end at the port ``inner``."""
    reader, writer = near
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
    first, _, headers = head.partition(b"\r\n")
    method, target, version = [*first.split(b" "), b"", b""][:3]
    tunnel = method == b"CONNECT"
    address = _address(("//" if tunnel else "") + target.decode("latin-1"), 443 if tunnel else 80)
    if address is None:
        writer.write(_BAD)
        return
    fals = tunnel and is_fals(address[0])
    # Plain http to a name of fal's is nobody's intention, and would leave this machine.
    if not fals and (is_fals(address[0]) or not outside.permits(address[0])):
        writer.write(_OFFLINE)
        return
    opening = asyncio.open_connection("127.0.0.1", inner) if fals else outside.open(*address, tunnel=tunnel)
    far = await _reach(opening)
    if far is None:
        writer.write(_UNREACHABLE)
        return
    if tunnel:
        writer.write(_OPEN)
    else:
        path = target.split(b"/", 3)
        # One request for each connection: only its first lines name the host.
        far[1].write(b"%b /%b %b\r\nconnection: close\r\n%b" % (method, path[3] if path[3:] else b"", version, headers))
    await _join(near, far)


def _address(url: str, default_port: int) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port or default_port) if parts.hostname else None
    except ValueError:
        return None


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _reach(opening: Coroutine[None, None, Pair]) -> Pair | None:
    try:
        return await asyncio.wait_for(opening, CONNECT_SECONDS)
    except (OSError, TimeoutError):  # ssl.SSLError is an OSError
        return None


async def _join(near: Pair, far: Pair) -> None:
    """Carries bytes both ways until both directions have ended, or one has failed."""
    ways = [asyncio.create_task(_carry(near[0], far[1])), asyncio.create_task(_carry(far[0], near[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        far[1].transport.abort()
        raise
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await _close(far[1])


async def _close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection for good: TLS waits for its peer, and would outlive the event loop if nobody waited."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), CLOSE_SECONDS)
    except (OSError, TimeoutError):
        writer.transport.abort()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(CHUNK):
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
    else:
        target.close()  # TLS has no half-close
