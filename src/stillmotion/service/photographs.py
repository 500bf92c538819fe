"""The photographs that this server itself offers, and their thumbnails."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from stillmotion.errors import NotFound
from stillmotion.files.photographs import PHOTOGRAPHS, Photograph, photograph
from stillmotion.media.thumbnail import CONTENT_TYPE, thumbnail

__all__ = ["CONTENT_TYPE", "PATH", "Photograph", "Photographs"]

PATH = "/samples/"
"""Where they are served; their names are stable."""


class Photographs:
    """Thumbnails are made when they are first asked for and kept: 20 kB each."""

    def __init__(self) -> None:
        self._thumbnails: dict[str, bytes] = {}

    def every(self) -> Sequence[Photograph]:
        return tuple(PHOTOGRAPHS.values())

    def file(self, name: str) -> tuple[Path, Photograph]:
        """Raises NotFound."""
        return photograph(name), PHOTOGRAPHS[name]

    async def thumbnail(self, stem: str) -> bytes:
        """The small WebP of the photograph whose name begins with ``stem``. Raises NotFound."""
        name = next((name for name in PHOTOGRAPHS if Path(name).stem == stem), None)
        if name is None:
            raise NotFound(f"There is no photograph {stem!r}")
        if name not in self._thumbnails:
            self._thumbnails[name] = await asyncio.to_thread(thumbnail, photograph(name))
        return self._thumbnails[name]
