"""Makes a request again from a video: its endpoint and input stand in the file's metadata."""

import asyncio
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillmotion.errors import BadRequest, NotFound
from stillmotion.files.blobs import LocalBlobs
from stillmotion.media.embedded import NotMedia, read_embedded

MAX_BYTES = 1 << 20
"""Of a file, or of its head and tail together."""
MAX_SIZE = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A file of ``size`` bytes: the first ``head`` bytes of ``content`` begin it, the others end it."""

    content: bytes
    size: int
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeWith:
    endpoint: str
    model: str | None
    input: Mapping[str, Any]
    served: bool
    """Whether this server has the endpoint."""


class EmbeddedSettings:
    """``endpoints``: ids of those that are served."""

    def __init__(self, blobs: LocalBlobs, endpoints: Collection[str]) -> None:
        self._blobs, self._endpoints = blobs, endpoints
        self._turns = asyncio.Semaphore(2)

    async def read(self, pieces: Pieces) -> MadeWith:
        """Raises BadRequest for what is no video, NotFound for one that does not say how it was made."""
        if not pieces.content:
            raise BadRequest("the body should be a file, or its head and tail")
        if not 0 < len(pieces.content) <= min(pieces.size, MAX_BYTES) or not 0 <= pieces.head <= len(pieces.content):
            raise BadRequest("size and head: do not fit the body")
        work = f"embedded-{secrets.token_hex(8)}"
        async with self._turns:
            try:
                path = self._blobs.work(work) / "video"
                await asyncio.to_thread(_lay_out, path, pieces)
                found = await read_embedded(path)
            except NotMedia:
                raise BadRequest("the body is no MP4, WebM, QuickTime or GIF file") from None
            except (OSError, TimeoutError) as error:
                raise BadRequest("the file could not be read") from error
            finally:
                await self._blobs.drop_work(work)
        return self._understood(found)

    def _understood(self, found: dict[str, Any] | None) -> MadeWith:
        told = found or {}
        endpoint, input, model = told.get("endpoint"), told.get("input"), told.get("model")
        if not isinstance(endpoint, str) or not isinstance(input, dict):
            raise NotFound("The file does not say how it was made")
        return MadeWith(
            endpoint=endpoint,
            model=model if isinstance(model, str) else None,
            input=input,
            served=endpoint in self._endpoints,
        )


def _lay_out(path: Path, pieces: Pieces) -> None:
    """The file with a hole for what was not sent: it takes no space."""
    with path.open("wb") as file:
        file.write(pieces.content[: pieces.head])
        tail = pieces.content[pieces.head :]
        file.seek(pieces.size - len(tail))
        file.write(tail)
        file.truncate(pieces.size)
