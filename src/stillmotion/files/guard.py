"""The one place where a download opens a connection: resolve, check every answer, connect to what was checked.

As a network backend it lies below HTTP and TLS, so it sees each connection of each redirect, and there is no second
look-up that could answer differently. The host name still reaches TLS (SNI, certificate) and the Host header.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpcore2

from stillmotion.files.addresses import AllowList, IPAddress, is_metadata, is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port to addresses, in the order to try them; raises OSError."""

WEB_PORTS = frozenset({80, 443, 8080, 8443})
"""For hosts that are not on the allow-list: enough for the web, and no mail server or database among them."""

MAX_LOOKUPS = 8
"""At a time. A look-up holds a thread until the resolver gives up, which a hostile name server can delay for 30 s."""

MAX_ADDRESSES = 4
"""Tried for one connection, all within its one timeout."""

_log = logging.getLogger(__name__)


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses the operating system gives, in its order of preference (RFC 6724)."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses on ``ports``, and to what ``allow`` covers; raises ConnectError for all else."""

    def __init__(self, allow: AllowList, ports: frozenset[int], resolve: Resolve) -> None:
        self._allow = allow
        self._ports = ports
        self._resolve = resolve
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked_addresses(host, port)
                return _Stream(await self._connect_first(addresses, port, timeout))
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.ConnectError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked_addresses(self, host: str, port: int) -> list[IPAddress]:
        """Every answer must pass: a name with one public and one private address is an attack or a mistake."""
        try:
            addresses = [ipaddress.ip_address(host)]
        except ValueError:
            addresses = await self._look_up(host, port)
        for address in addresses:
            if not self._may_connect(host, address, port):
                _log.info("download refused: %s is %s, port %d", host, address, port)
                raise httpcore2.ConnectError
        return addresses

    def _may_connect(self, host: str, address: IPAddress, port: int) -> bool:
        if is_metadata(address):
            return False
        return (is_public(address) and port in self._ports) or self._allow.permits(host, address, port)

    async def _look_up(self, host: str, port: int) -> list[IPAddress]:
        await self._lookups.acquire()
        lookup = asyncio.ensure_future(self._resolve(host, port))
        lookup.add_done_callback(self._end_lookup)
        try:
            # Shielded: when the download gives up, the thread goes on, and so does its claim on a place.
            answers = await asyncio.shield(lookup)
            addresses = list(dict.fromkeys(map(ipaddress.ip_address, answers)))
        except (OSError, ValueError) as error:
            raise httpcore2.ConnectError from error
        if not addresses:
            raise httpcore2.ConnectError
        return addresses

    def _end_lookup(self, lookup: "asyncio.Future[Sequence[str]]") -> None:
        self._lookups.release()
        if not lookup.cancelled():
            lookup.exception()  # marks it as seen, for the look-up that nobody waits for any more

    async def _connect_first(
        self, addresses: list[IPAddress], port: int, timeout: float | None
    ) -> httpcore2.AsyncNetworkStream:
        """The first address that takes the connection, each given an equal part of ``timeout``."""
        tried = addresses[:MAX_ADDRESSES]
        for address in tried[:-1]:
            try:
                share = None if timeout is None else timeout / len(tried)
                return await self._network.connect_tcp(str(address), port, timeout=share)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._network.connect_tcp(str(tried[-1]), port, timeout=timeout)


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection that is closed when its TLS handshake is cancelled; the library closes it after errors only.

    Without this a host that accepts and then says nothing would keep one socket for each download given up.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
