"""Answers for pages of other origins, which a browser shows to them only with these headers."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
EXPOSED = (
    b"x-fal-request-id, x-fal-request-timeout-type, x-fal-error-type, x-fal-billable-units, x-fal-retryable, "
    b"x-fal-needs-retry, x-fal-served-from, x-stillmotion-model, x-stillmotion-computed, "
    b"x-stillmotion-safety, etag, content-range, retry-after, idempotent-replayed"
)
"""fal's, which its JavaScript client reads; ours; and those of uploads and of players."""
PREFLIGHT_SECONDS = b"600"
"""Chrome keeps the answer to a preflight for two hours at most, Firefox for a day."""


class Cors:
    """Allows whatever has an ``Origin``: behind ``OriginGuard``, which refuses the foreign ones before.

    Preflights are answered here, for any path. The headers that a page asks for are allowed as it asks for them,
    because a list cannot say ``x-fal-*``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None:
            await self.app(scope, receive, send)
            return
        allowed = [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
        ]
        if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None:
            await _answer_preflight(scope, send, allowed)
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [*allowed, (b"access-control-expose-headers", EXPOSED)]
                message = {**message, "headers": [*_with_vary(message.get("headers", ())), *more]}
            await send(message)

        await self.app(scope, receive, send_allowed)


async def _answer_preflight(scope: Scope, send: Send, allowed: list[tuple[bytes, bytes]]) -> None:
    headers = [
        *allowed,
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
        (b"vary", b"origin, access-control-request-headers"),
        (b"content-length", b"0"),
    ]
    if asked := _header(scope, b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", asked))
    # A page of a public site that was allowed by a setting reaches loopback: Chrome asks for that separately.
    if _header(scope, b"access-control-request-private-network") == b"true":
        headers.append((b"access-control-allow-private-network", b"true"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _with_vary(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The answer is for this origin: a cache must not give it to another."""
    before = [value for name, value in headers if name.lower() == b"vary"]
    others = [(name, value) for name, value in headers if name.lower() != b"vary"]
    return [*others, (b"vary", b", ".join([*before, b"origin"]))]


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)
