"""An output with its file inside, as a data URI, sent as it is read: a video of any length takes 2 MiB of memory."""

import asyncio
import binascii
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

CHUNK = 3 << 18
"""Bytes of file that become 1 MiB of base64. A multiple of three, so that only the last chunk is padded."""


async def inline_response(
    output: Mapping[str, Any], path: Path, headers: Mapping[str, str], on_sent: Callable[[], Awaitable[None]]
) -> Response:
    """``output`` with the file at ``path`` for its ``video.url``; ``on_sent`` is called once all of it was sent."""
    before, after = _around(output)
    return _InlineFile(before, await asyncio.to_thread(path.open, "rb"), after, headers, on_sent)


async def inline_pieces(output: Mapping[str, Any], path: Path) -> AsyncIterator[bytes]:
    """The same body, for an answer that has more in it."""
    before, after = _around(output)
    with await asyncio.to_thread(path.open, "rb") as file:
        yield before
        while piece := await asyncio.to_thread(_encoded, file):
            yield piece
    yield after


def _around(output: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and after the base64 of the file."""
    video = output["video"]
    place = secrets.token_hex(16)
    body = orjson.dumps({**output, "video": {**video, "url": f"data:{video['content_type']};base64,{place}"}})
    before, _, after = body.partition(place.encode())
    return before, after


def _encoded(file: BinaryIO) -> bytes:
    return binascii.b2a_base64(file.read(CHUNK), newline=False)


class _InlineFile(Response):
    media_type = "application/json"

    def __init__(
        self,
        before: bytes,
        file: BinaryIO,
        after: bytes,
        headers: Mapping[str, str],
        on_sent: Callable[[], Awaitable[None]],
    ) -> None:
        self.status_code, self.background = 200, None
        self._before, self._file, self._after, self._on_sent = before, file, after, on_sent
        encoded = -(-os.fstat(file.fileno()).st_size // 3) * 4
        self.init_headers({**headers, "content-length": str(len(before) + encoded + len(after))})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            sent = await self._send_body(receive, send)
        if sent:
            await self._on_sent()

    async def _send_body(self, receive: Receive, send: Send) -> bool:
        """Whether the client was there to the end; what one missed must stay for its next try."""
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            piece = self._before
            while piece and not gone.done():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await asyncio.to_thread(_encoded, self._file)
            if gone.done():
                return False
            await send({"type": "http.response.body", "body": self._after})
            return True
        finally:
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
