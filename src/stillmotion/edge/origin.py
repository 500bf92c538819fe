"""Guards a server that needs no key because it listens on loopback only: any web page can reach loopback too."""

import functools
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from stillmotion.edge.answer import encode, start

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORTS = {"http": 80, "https": 443}


class OriginGuard:
    """Refuses, for every method and for websockets, what a foreign web page sends.

    421 when ``Host`` is not one of ours: loopback, or in ``hosts`` (the bind host, further names; no port). That stops
    DNS rebinding, where a page's own name is made to point at loopback. ``also`` names others: no page of a stranger's
    stands under them.
    403 when ``Origin`` is foreign: neither a loopback name on any port, nor the very host and port that were asked, nor
    in ``origins`` (``scheme://host[:port]``). ``null``, the origin of sandboxed pages and files, is foreign. Programs
    send no ``Origin`` and pass.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        also: Callable[[str], bool] = lambda host: False,
    ) -> None:
        self.app = app
        self.also = also
        self.hosts = LOOPBACK_NAMES | {_name(host.strip("[]")) for host in hosts}
        self.origins = frozenset(origin for each in origins if (origin := _origin(each)) is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (refusal := self._refusal(scope)) is not None:
            await _refuse(scope, receive, send, *refusal)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        asked = _authority(hosts[0]) if len(hosts) == 1 else None
        if asked is None or not (asked[0] in self.hosts or self.also(asked[0])):
            return 421, "This server does not answer to that host name"
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if not all(self._is_ours(origin, asked) for origin in origins):
            return 403, "Requests from that origin are not allowed"
        return None

    def _is_ours(self, text: str, asked: tuple[str, int | None]) -> bool:
        origin = _origin(text)
        if origin is None:
            return False
        scheme, host, port = origin
        return host in LOOPBACK_NAMES or origin in self.origins or (host, port) == (asked[0], _port(scheme, asked[1]))


def _name(host: str) -> str:
    return host.lower().removesuffix(".")


def _port(scheme: str, port: int | None) -> int:
    return DEFAULT_PORTS[scheme] if port is None else port


@functools.lru_cache(maxsize=64)  # a server has few names, and every request has one of them
def _authority(text: str) -> tuple[str, int | None] | None:
    """Host and port of a ``Host`` header; None when it is not exactly that."""
    if not text or any(character in text for character in "/\\?#@ \t%"):
        return None
    try:
        parts = urlsplit(f"//{text}")
        return (_name(parts.hostname), parts.port) if parts.hostname else None
    except ValueError:
        return None


def _origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an http(s) origin; None for anything else, ``null`` included."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    authority = _authority(rest)
    if not separator or scheme not in DEFAULT_PORTS or authority is None:
        return None
    return scheme, authority[0], _port(scheme, authority[1])


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
    body = encode({"detail": detail})
    opening = start(status, body)
    ending = {"type": "http.response.body", "body": body}
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": detail})
            return
        opening["type"], ending["type"] = "websocket.http.response.start", "websocket.http.response.body"
    await send(opening)
    await send(ending)
