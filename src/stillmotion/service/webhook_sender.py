"""One POST to a receiver that nobody vouches for: to addresses that are allowed, without redirects, read to a bound.

The connection is guarded in files/guard.py: the name is resolved once, every address is checked, and what was checked
is what is connected to.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpcore2

from stillmotion import __version__
from stillmotion.errors import BadRequest, FileDownloadError
from stillmotion.files.addresses import AllowList, is_public
from stillmotion.files.fetch import tls_context
from stillmotion.files.guard import WEB_PORTS, GuardedBackend, Resolve, system_resolve
from stillmotion.files.offline import LOOPBACK, resolve_local
from stillmotion.files.urls import HttpUrl

CONNECT_SECONDS = 10.0
"""Of an attempt's time: a host that is not there is known sooner than one that thinks."""
ANSWER_BYTES, ANSWER_SECONDS = 4096, 1.0
"""An answer's body says nothing; this much is taken so that a receiver that sends one meets no broken connection."""

UNREACHABLE, TLS_ERROR, TIMEOUT, NO_ANSWER = "unreachable", "tls_error", "timeout", "no_answer"
"""Why there is no status. An address that is refused and one that does not answer are the same word: a tenant learns
nothing about a network that only this machine can see."""

_HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", f"stillmotion/{__version__} (+webhook)"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver's status, or a word for why there is none."""

    status: int | None = None
    error: str | None = None


class WebhookSender:
    """Safe to share between tasks of one event loop.

    ``allow``: destinations besides public addresses on the usual ports. ``ca_file``: certificates to trust besides the
    system's. ``offline``: of all those, only addresses of this machine are connected to, and no name is looked up.
    Raises ConfigurationError if ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        allow: AllowList,
        *,
        ca_file: Path | None = None,
        offline: bool = False,
        resolve: Resolve = system_resolve,
    ) -> None:
        self._allow = allow
        self._tls = tls_context(ca_file)
        if offline:
            self._backend = GuardedBackend(AllowList.parse(LOOPBACK), frozenset(), resolve_local)
        else:
            self._backend = GuardedBackend(allow, WEB_PORTS, resolve)

    def target(self, url: str) -> HttpUrl:
        """``url``, read strictly. Raises BadRequest for what is none, or is plainly not allowed.

        A name is judged by its addresses when it is connected to; here only what needs no look-up.
        """
        try:
            # Twice: encoding it can make it longer, and what is stored must be readable.
            found = HttpUrl.parse(str(HttpUrl.parse(url)))
        except FileDownloadError as error:
            raise BadRequest(f"fal_webhook: {error.message}") from None
        if self._refuses(found):
            raise BadRequest(
                f"fal_webhook: {found.authority} is not a public address on a usual port; whoever runs this server "
                "may list it in STILLMOTION_WEBHOOK_ALLOW"
            )
        return found

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes, *, timeout: float) -> Answer:
        """Sends ``body`` to a URL that ``target`` gave; the answer's head must be there within ``timeout`` seconds."""
        try:
            return Answer(status=await self._post(HttpUrl.parse(url), headers, body, timeout))
        except TimeoutError:
            return Answer(error=TIMEOUT)
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            # The connection pool raises "from None", which leaves the reason in the context alone.
            refused = isinstance(error.__context__, ssl.SSLError)
            return Answer(error=TLS_ERROR if refused else UNREACHABLE)
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError):
            return Answer(error=NO_ANSWER)

    async def _post(self, url: HttpUrl, headers: Sequence[tuple[str, str]], body: bytes, timeout: float) -> int:
        # A pool of its own: no connection is shared between the receivers of two users.
        async with httpcore2.AsyncConnectionPool(ssl_context=self._tls, network_backend=self._backend) as pool:
            request = pool.stream(
                "POST",
                httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
                headers=[("Host", url.authority), *_HEADERS, ("Content-Length", str(len(body))), *headers],
                content=body,
                extensions={"timeout": {"connect": min(CONNECT_SECONDS, timeout)}},
            )
            async with asyncio.timeout(timeout) as bound, request as response:
                status: int = response.status
                # The status decides; whatever becomes of the rest, the receiver was told.
                bound.reschedule(None)
                with suppress(TimeoutError, httpcore2.NetworkError, httpcore2.ProtocolError):
                    await _take(response)
        return status

    def _refuses(self, url: HttpUrl) -> bool:
        local = url.host == "localhost" or url.host.endswith(".localhost")
        try:
            address = ipaddress.ip_address("127.0.0.1" if local else url.host)
        except ValueError:
            return False
        return not ((is_public(address) and url.port in WEB_PORTS) or self._allow.permits(url.host, address, url.port))


async def _take(response: httpcore2.Response) -> None:
    size = 0
    async with asyncio.timeout(ANSWER_SECONDS):
        async for chunk in response.aiter_stream():
            size += len(chunk)
            if size >= ANSWER_BYTES:
                return
