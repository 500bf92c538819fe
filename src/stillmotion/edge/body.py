"""Bounds on request bodies, enforced while they are read: nothing is buffered and no declared length is believed."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stillmotion.edge.answer import encode, start

DISCONNECT: Message = {"type": "http.disconnect"}


def by_prefix(limits: Mapping[str, int], default: int) -> Callable[[Scope], int]:
    """Bytes by path prefix; the longest prefix that ends at a path separator wins."""
    longest_first = sorted(((prefix.rstrip("/"), size) for prefix, size in limits.items()), key=lambda it: -len(it[0]))

    def max_bytes(scope: Scope) -> int:
        path = scope["path"]
        return next(
            (size for prefix, size in longest_first if path == prefix or path.startswith(f"{prefix}/")), default
        )

    return max_bytes


class BodyLimit:
    """Refuses bodies that are too long (413) or come too slowly (400), then closes the connection.

    ``max_bytes`` gives the limit of a request from its scope. A body may keep the application waiting for
    ``grace_seconds`` and one second more for every ``min_rate`` bytes that came, never longer than ``max_seconds``;
    only the time spent waiting counts, so an application that is slow to read does not cut off its client. Too slow is
    400 and not 408, because fal's Python client sends the whole request again on 408.

    The application sees a client that left. After the answer at most ``linger_bytes`` are read for at most
    ``linger_seconds``, so that the client gets to see it before the connection closes.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: Callable[[Scope], int],
        *,
        min_rate: float = 1024.0,
        grace_seconds: float = 10.0,
        max_seconds: float = 300.0,
        linger_bytes: int = 1024 * 1024,
        linger_seconds: float = 2.0,
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.min_rate = min_rate
        self.grace_seconds = grace_seconds
        self.max_seconds = max_seconds
        self.linger_bytes = linger_bytes
        self.linger_seconds = linger_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reading = _Reading(self, scope, receive, send)
        if (_content_length(scope) or 0) > reading.limit:
            await reading.refuse_length()
        else:
            try:
                await self.app(scope, reading.receive, reading.send)
            except Exception:
                # A refused body makes the application fail in its own way (Starlette raises ClientDisconnect).
                if not reading.refused:
                    raise
        await reading.finish()


class _Reading:
    """One request's body on its way to the application."""

    def __init__(self, rule: BodyLimit, scope: Scope, receive: Receive, send: Send) -> None:
        self._rule = rule
        self._scope = scope
        self._receive = receive
        self._send = send
        self.limit = rule.max_bytes(scope)
        self._bytes = 0
        self._waited = 0.0
        self._ended = False
        self._touched = False
        self._started = False
        self._answered = False
        self.refused = False

    async def receive(self) -> Message:
        if self.refused:
            return DISCONNECT
        if self._ended:
            return await self._receive()
        try:
            message = await self._next()
        except TimeoutError:
            await self._refuse(400, "The request body arrived too slowly")
            return DISCONNECT
        if self._bytes > self.limit:
            await self.refuse_length()
            return DISCONNECT
        return message

    async def send(self, message: Message) -> None:
        if self.refused:
            return
        self._started = True
        await self._send(message)

    async def refuse_length(self) -> None:
        await self._refuse(413, f"The request body is larger than {self.limit} bytes")

    async def finish(self) -> None:
        """Ends the answer of a refused request, and with it the connection."""
        if not self._answered:
            return
        # A client that waits for "100 Continue" has sent nothing and, answered like this, will not.
        if self._touched or not _expects_continue(self._scope):
            await self._linger()
        await self._send({"type": "http.response.body", "body": b""})

    async def _refuse(self, status: int, detail: str) -> None:
        self.refused = True
        if self._started:
            return  # the application was already answering; its response stays cut off
        self._answered = True
        body = encode({"detail": detail})
        await self._send(start(status, body, [(b"connection", b"close")]))
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _next(self) -> Message:
        rule, loop = self._rule, asyncio.get_running_loop()
        self._touched = True
        allowed = min(rule.grace_seconds + self._bytes / rule.min_rate, rule.max_seconds)
        before = loop.time()
        async with asyncio.timeout(allowed - self._waited):
            message = await self._receive()
        self._waited += loop.time() - before
        self._bytes += len(message.get("body", b""))
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def _linger(self) -> None:
        left = self._rule.linger_bytes
        try:
            async with asyncio.timeout(self._rule.linger_seconds):
                while left > 0 and not self._ended:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        except TimeoutError:
            pass


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _expects_continue(scope: Scope) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"])
