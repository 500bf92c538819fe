"""Uploads and outputs in a directory: immutable files under random names.

A name in a row of the database implies the file on disk: every file is written and synced elsewhere, renamed into
place and its folder synced before its name is given out. A crash leaves files without a row at worst, which
``names`` lists for the sweep; never half a file, never a row without its file.
"""

import asyncio
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from stillmotion.errors import NotFound
from stillmotion.files.streams import check_size, write_stream

_NAME = re.compile(r"[0-9a-f]{40}\.[a-z0-9]{1,8}")
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_WORK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")

_RANDOM_BYTES = 20
"""160 bits. In hexadecimal, so that names stay apart on file systems that ignore case."""


class LocalBlobs:
    """Blobs below ``root``, which is created if need be: ``blobs/ab/ab12….mp4``, ``incoming/``, ``work/ID/``.

    The three lie on one file system, so a finished file moves into place by a rename. One process owns ``root``.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve()
        self._blobs = self._root / "blobs"
        self._incoming = self._root / "incoming"
        self._work = self._root / "work"
        # All 256 at once: made on demand, one task could rely on a folder that another has not yet synced.
        self._shards = [self._blobs / f"{number:02x}" for number in range(256)]
        for folder in (self._blobs, self._incoming, self._work, *self._shards):
            folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self._blobs)
        sync_folder(self._root)

    async def adopt(self, path: Path, extension: str) -> str:
        """Moves the finished file at ``path`` (on the same file system, as ``work`` gives) in; gives its name.

        On return the file outlives a power cut. Raises OSError: not a regular file, another file system, disk full.
        """
        name = new_name(extension)
        await self.adopt_as(path, name)
        return name

    async def adopt_as(self, path: Path, name: str) -> None:
        """As ``adopt``, under a name that ``new_name`` gave out before. Raises FileExistsError when it is taken."""
        await asyncio.to_thread(self._adopt, path, name)

    async def write(self, source: bytes | AsyncIterable[bytes], extension: str, *, max_bytes: int | None = None) -> str:
        """Stores ``source`` as ``adopt`` does; gives its name. Raises FileTooLargeError past ``max_bytes``, OSError."""
        name = new_name(extension)
        async with self.incoming(source, max_bytes=max_bytes) as path:
            await self.adopt_as(path, name)
        return name

    @asynccontextmanager
    async def incoming(
        self, source: bytes | AsyncIterable[bytes], *, max_bytes: int | None = None
    ) -> AsyncIterator[Path]:
        """``source`` as a file that the block may adopt; otherwise it is gone after the block. Raises as ``write``."""
        path = self._incoming / secrets.token_hex(_RANDOM_BYTES)
        try:
            # Opened here and not in a thread, where a cancellation would lose the handle; it takes microseconds.
            with path.open("xb") as file:
                await _write(file, source, max_bytes)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Where the blob lies. Raises NotFound for an absent one and for every name that was not made here."""
        path = self._place(name)
        try:
            # Equal only if no part of it is a symbolic link: whoever plants one in the folder gains nothing.
            regular = path.resolve(strict=True) == path and stat.S_ISREG(path.lstat().st_mode)
        except OSError:
            regular = False
        if not regular:
            raise NotFound("there is no such file")
        return path

    async def delete(self, name: str) -> None:
        """Removes a blob, if it is there; raises NotFound for a name that was not made here."""
        await asyncio.to_thread(self._place(name).unlink, missing_ok=True)

    async def names(self, *, older_than: float = 0.0) -> AsyncIterator[str]:
        """Names of all blobs that were moved in more than ``older_than`` seconds ago.

        A sweep of orphans needs a grace period: a file is in place before its row is committed.
        """
        for shard in self._shards:
            for name in await asyncio.to_thread(self._names_in, shard, time.time() - older_than):
                yield name

    def work(self, work_id: str) -> Path:
        """A scratch folder of its own for one attempt, created on first use. Raises ValueError for an unfit id."""
        folder = self._work_folder(work_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    async def drop_work(self, work_id: str) -> None:
        """Removes the scratch folder of an attempt that has ended, if there is one."""
        await asyncio.to_thread(_remove, self._work_folder(work_id))

    async def clear_work(self) -> None:
        """Removes all scratch folders and unfinished writes: what an earlier process left. Call at start only."""
        for folder in (self._work, self._incoming):
            for leftover in await asyncio.to_thread(_children, folder):
                await asyncio.to_thread(_remove, leftover)

    def free_bytes(self) -> int:
        """Bytes that this process can still write to the file system of ``root``."""
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise NotFound("there is no such file")
        return self._blobs / name[:2] / name

    def _work_folder(self, work_id: str) -> Path:
        if not _WORK_ID.fullmatch(work_id):
            raise ValueError(f"not a work id: {work_id!r}")
        return self._work / work_id

    def _adopt(self, path: Path, name: str) -> None:
        place = self._place(name)
        _sync_file(path)
        # A rename would replace what an earlier reader knows under this name.
        if os.path.lexists(place):
            raise FileExistsError(place)
        path.rename(place)
        sync_folder(place.parent)

    def _names_in(self, shard: Path, moved_before: float) -> list[str]:
        names = []
        for path in _children(shard):
            try:
                status = path.lstat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            # A rename sets ctime; mtime is older, it is when the engine wrote the last byte.
            fits = _NAME.fullmatch(path.name) and path.name[:2] == shard.name and stat.S_ISREG(status.st_mode)
            if fits and status.st_ctime <= moved_before:
                names.append(path.name)
        return names


def new_name(extension: str) -> str:
    """A name that no blob has or will have. Raises ValueError for an unfit extension."""
    if not _EXTENSION.fullmatch(extension):
        raise ValueError(f"not a file extension: {extension!r}")
    return f"{secrets.token_hex(_RANDOM_BYTES)}.{extension}"


async def _write(file: BinaryIO, source: bytes | AsyncIterable[bytes], max_bytes: int | None) -> None:
    if isinstance(source, bytes):
        check_size(len(source), max_bytes)
        await asyncio.to_thread(file.write, source)
    else:
        await write_stream(file, source, max_bytes)


def _sync_file(path: Path) -> None:
    """Waits until a regular file is on the disk. Raises OSError for a symbolic link and for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Waits until the entries of a folder, such as a rename into it, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
