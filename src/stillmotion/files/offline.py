"""Files that stand in for outside URLs: fixtures by URL, and for pictures without one a drawing.

What is answered from here opens no connection. A fixture is used whether or not the server is offline; offline, nothing
else is fetched.
"""

import asyncio
import errno
import os
import shutil
from pathlib import Path
from typing import Protocol

from stillmotion.errors import FileDownloadError
from stillmotion.files.fetch import Fetched, Version
from stillmotion.files.fixtures import Fixtures
from stillmotion.files.lora_paths import LocalPath, parse_lora_path
from stillmotion.files.safetensors import check_safetensors
from stillmotion.files.streams import check_size, removed_on_failure
from stillmotion.files.urls import HttpUrl

LOOPBACK = ("127.0.0.0/8", "::1")


async def resolve_local(host: str, port: int) -> list[str]:
    """This machine's own name alone, without asking anybody; raises OSError for others."""
    if host == "localhost" or host.endswith(".localhost"):
        return ["127.0.0.1"]
    raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH), host)


class Fetches(Protocol):
    """What ``files.fetch.Fetcher`` does."""

    max_bytes: int

    async def fetch(self, url: str, target: Path, *, known: Version | None = None) -> Fetched: ...


class FixtureFetcher:
    """Answers URLs that have a fixture with it, within the limit of ``otherwise``, which gets all others."""

    def __init__(self, fixtures: Fixtures, otherwise: Fetches) -> None:
        self.max_bytes = otherwise.max_bytes
        self._fixtures = fixtures
        self._otherwise = otherwise

    async def fetch(self, url: str, target: Path, *, known: Version | None = None) -> Fetched:
        """Raises FileTooLargeError, FileDownloadError if the fixture cannot be read, and what ``otherwise`` raises."""
        fixture = self._fixtures.find(url)
        if fixture is None:
            return await self._otherwise.fetch(url, target, known=known)
        try:
            size = await asyncio.to_thread(_copy, fixture, target, self.max_bytes)
        except OSError as error:
            raise FileDownloadError(f"the fixture for {url[:200]} cannot be read: {error.strerror}") from error
        return Fetched(size, url, None)


class DrawingFetcher:
    """Answers every http and https URL with a picture drawn from its hash. ``max_bytes`` is for what callers ask."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes

    async def fetch(self, url: str, target: Path, *, known: Version | None = None) -> Fetched:
        """Raises FileDownloadError for a URL that is none, as a download would."""
        HttpUrl.parse(url)
        return Fetched(await asyncio.to_thread(_draw, url, target), url, "image/png")


def _copy(source: Path, target: Path, max_bytes: int) -> int:
    check_size(source.stat().st_size, max_bytes)
    with removed_on_failure(target):
        shutil.copyfile(source, target)
        return target.stat().st_size


def _draw(url: str, target: Path) -> int:
    from stillmotion.files.drawing import draw_picture  # with numpy, for tests alone

    with removed_on_failure(target):
        draw_picture(url, target)
        return target.stat().st_size


class LoraSource(Protocol):
    async def bring(self, source: str, folder: Path) -> Path: ...


class FixtureLoras:
    """Answers LoRA paths that have a fixture with it; ``otherwise`` gets all others, offline only local ones."""

    def __init__(self, fixtures: Fixtures, otherwise: LoraSource, *, offline: bool, max_bytes: int) -> None:
        self._fixtures = fixtures
        self._otherwise = otherwise
        self._offline = offline
        self._max_bytes = max_bytes

    async def bring(self, source: str, folder: Path) -> Path:
        """As ``otherwise`` does; raises FileDownloadError for what would have to be downloaded offline."""
        fixture = self._fixtures.find(source)
        if fixture is not None:
            return await asyncio.to_thread(self._checked, fixture)
        if self._offline and not isinstance(parse_lora_path(source), LocalPath):
            raise FileDownloadError("this server is offline: a LoRA from elsewhere needs an entry in its fixtures")
        return await self._otherwise.bring(source, folder)

    def _checked(self, path: Path) -> Path:
        try:
            check_size(path.stat().st_size, self._max_bytes)
            check_safetensors(path)
        except OSError as error:
            raise FileDownloadError(f"the fixture cannot be read: {error.strerror}") from error
        return path.resolve()
