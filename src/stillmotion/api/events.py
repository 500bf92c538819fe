"""Server-sent events, as both of fal's clients read them: one JSON value for each event, and no word at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.types import Receive, Send

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment. fal's clients, and proxies between, give a silent connection 15 seconds or more."""


def event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


class EventStream:
    """The open answer. Nothing is sent before the first ``send``, so an error can still be a plain HTTP answer."""

    __slots__ = ("_headers", "_send", "opened")

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.opened = False

    async def open(self) -> None:
        if not self.opened:
            self.opened = True
            # Exactly this type, without a charset; nothing on the way may gather or keep events.
            headers = {
                "content-type": "text/event-stream",
                "cache-control": "no-store",
                "x-accel-buffering": "no",
                **self._headers,
            }
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def send(self, chunk: bytes) -> None:
        await self.open()
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self.open()
        await self._send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def until_gone(receive: Receive, wake: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
    """Gives whether the client has left; calls ``wake`` when it does. The request's body was read before."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(left())
    task.add_done_callback(lambda _: wake())
    try:
        yield task.done
    finally:
        task.cancel()
