"""Downloads of what a request points to, from hosts that nobody vouches for.

The connection is guarded in guard.py; here stand HTTP's own limits: redirects, bytes, seconds, encodings, retries.
Nothing is taken from the environment, and no cookie, credential or referrer is ever sent.
"""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpcore2

from stillmotion import __version__
from stillmotion.errors import ConfigurationError, FileDownloadError
from stillmotion.files.addresses import AllowList
from stillmotion.files.guard import WEB_PORTS, GuardedBackend, Resolve, system_resolve
from stillmotion.files.streams import MIB, check_size, removed_on_failure, write_stream
from stillmotion.files.urls import HttpUrl

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Version:
    """What a host says of which version of a file it sent; both None where it says nothing."""

    etag: str | None = None
    last_modified: str | None = None

    def conditions(self) -> list[tuple[str, str]]:
        """Headers that ask for the file only if it is another one by now."""
        asked = (("If-None-Match", self.etag), ("If-Modified-Since", self.last_modified))
        return [(name, value) for name, value in asked if value]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished download."""

    size: int
    """Bytes."""
    url: str
    """Where it came from in the end, after redirects."""
    content_type: str | None
    """ASCII, as the host claims; nothing has checked it."""
    version: Version = Version()
    unchanged: bool = False
    """The host still has the version that the caller knows: there is no file at the target."""


class Fetcher:
    """Downloads http and https URLs to files; safe to share between tasks of one event loop.

    ``allow``: destinations besides public addresses on ``ports``. ``max_bytes``: largest file. ``timeout``: seconds for
    one ``fetch``, redirects and retries included; ``connect_timeout``: seconds for each connection, name look-up
    included. ``retries``: further tries after 429, 5xx and broken connections, the first after ``backoff`` seconds and
    each later one after twice the wait before it. ``ca_file``: certificates to trust besides the system's, for hosts of
    a private network. ``resolve``: replaces the system's resolver. Raises ConfigurationError if ``ca_file`` cannot be
    used.
    """

    def __init__(
        self,
        allow: AllowList,
        *,
        ports: frozenset[int] = WEB_PORTS,
        max_bytes: int = 50 * MIB,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        max_redirects: int = 5,
        retries: int = 2,
        backoff: float = 0.25,
        user_agent: str = f"stillmotion/{__version__} (+image fetch)",
        ca_file: Path | None = None,
        resolve: Resolve = system_resolve,
    ) -> None:
        self.max_bytes = max_bytes
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_redirects = max_redirects
        self._hint = (
            f"private addresses, and ports other than {', '.join(map(str, sorted(ports)))}, "
            "must be listed in STILLMOTION_FETCH_ALLOW by whoever runs this server"
        )
        self._waits = [backoff * 2**n for n in range(retries)]
        self._headers = [("User-Agent", user_agent), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
        self._tls = tls_context(ca_file)
        self._backend = GuardedBackend(allow, ports, resolve)

    async def fetch(self, url: str, target: Path, *, known: Version | None = None) -> Fetched:
        """Downloads ``url`` to ``target``, whose folder exists; leaves no file behind when it fails.

        ``known``: the version that the caller has already; a host that still has the same one may say so instead.

        Raises FileDownloadError or FileTooLargeError. Their text names the host and what it answered; an address that
        is refused and one that does not answer give one and the same text, after the same retries, so the caller
        learns nothing about a network that only this machine can see.
        """
        start = HttpUrl.parse(url)
        try:
            with removed_on_failure(target):
                async with asyncio.timeout(self._timeout):
                    return await self._fetch_with_retries(start, target, known or Version())
        except TimeoutError:
            raise FileDownloadError(f"the download from {start.host} took more than {self._timeout:g} s") from None

    async def _fetch_with_retries(self, start: HttpUrl, target: Path, known: Version) -> Fetched:
        for wait in self._waits:
            try:
                return await self._fetch_once(start, target, known)
            except _MayPass:
                await asyncio.sleep(wait)
        try:
            return await self._fetch_once(start, target, known)
        except _MayPass as error:
            raise FileDownloadError(error.message) from error

    async def _fetch_once(self, start: HttpUrl, target: Path, known: Version) -> Fetched:
        url = start
        # A pool of its own: connections are reused within a redirect chain, never between requests of two users.
        async with httpcore2.AsyncConnectionPool(ssl_context=self._tls, network_backend=self._backend) as pool:
            for _ in range(self._max_redirects + 1):
                async with self._get(pool, url, start, known) as response:
                    if response.status == 304 and known.conditions():
                        return Fetched(0, str(url), None, known, unchanged=True)
                    if response.status not in _REDIRECTS:
                        return await self._save(response, url, target)
                    url = url.join(_header(response, b"location"))
        raise FileDownloadError(f"{start.host} redirects more than {self._max_redirects} times")

    @asynccontextmanager
    async def _get(
        self, pool: httpcore2.AsyncConnectionPool, url: HttpUrl, start: HttpUrl, known: Version
    ) -> AsyncIterator[httpcore2.Response]:
        with self._translated(url, start):
            async with pool.stream(
                "GET",
                httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
                headers=[("Host", url.authority), *self._headers, *known.conditions()],
                extensions={"timeout": {"connect": self._connect_timeout}},
            ) as response:
                yield response

    async def _save(self, response: httpcore2.Response, url: HttpUrl, target: Path) -> Fetched:
        _check_answer(response, url)
        length = _header(response, b"content-length")
        check_size(int(length) if length.isdecimal() else 0, self.max_bytes)
        # Opened here and not in a thread, where a cancellation would lose the handle; it takes microseconds.
        with target.open("wb") as file:
            size = await write_stream(file, response.aiter_stream(), self.max_bytes)
        if size == 0:
            raise FileDownloadError(f"{url.host} sent an empty file")
        version = Version(_told(response, b"etag"), _told(response, b"last-modified"))
        return Fetched(size, str(url), _told(response, b"content-type"), version)

    @contextmanager
    def _translated(self, url: HttpUrl, start: HttpUrl) -> Iterator[None]:
        """Turns what the HTTP library raises into our errors: the one border where its exceptions end."""
        try:
            yield
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            # The connection pool raises "from None", which leaves the reason in the context alone.
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                raise FileDownloadError(f"the TLS certificate of {url.host} cannot be verified") from error
            # Named after the URL that the caller knows: the host of a redirect may be a secret of the network.
            raise _MayPass(f"could not download from {start.host} ({self._hint})") from error
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
            raise _MayPass(f"{url.host} did not send a complete HTTP answer") from error


class _MayPass(Exception):
    """This try failed in a way that the next one may not."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def _check_answer(response: httpcore2.Response, url: HttpUrl) -> None:
    if response.status == 429 or response.status >= 500:
        raise _MayPass(f"{url.host} answered {response.status}")
    if response.status != 200:
        raise FileDownloadError(f"{url.host} answered {response.status}")
    if _header(response, b"content-encoding").lower() not in ("", "identity"):
        # Decoding what was not asked for would let a small answer become a large file.
        raise FileDownloadError(f"{url.host} sent a compressed answer, which was not asked for")


def _header(response: httpcore2.Response, name: bytes) -> str:
    """The first value of a header, or "". Bytes that are not UTF-8 become lone surrogates, which no check lets pass."""
    values = (value for key, value in response.headers if key.lower() == name)
    return next(values, b"").decode("utf-8", "surrogateescape").strip()


def _told(response: httpcore2.Response, name: bytes) -> str | None:
    """A header's value where it has one that can be sent and stored: printable ASCII."""
    value = _header(response, name)
    return value if value and value.isascii() and value.isprintable() else None


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies hosts by the system's roots and ``ca_file``. Raises ConfigurationError."""
    if ca_file is None:
        return _system_roots()
    context = httpcore2.default_ssl_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # missing, unreadable, or not PEM: SSLError is an OSError
        raise ConfigurationError(f"the CA file {ca_file} cannot be used: {error}") from error
    return context


@functools.cache
def _system_roots() -> ssl.SSLContext:
    """One for all: reading the roots takes 20 ms."""
    return httpcore2.default_ssl_context()
