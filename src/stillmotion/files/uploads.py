"""Parts of uploads on disk, and how they become one file.

Parts arrive in any order, several at a time and sometimes twice, so each is a file of its own under a random name;
the database says which of them count. Joining them begins with the first part's own file and appends the others one
by one, each deleted once it was copied: the disk never holds more than the whole and one part, where a copy of
everything would need the space twice. Where the file system can share blocks (XFS, Btrfs) nothing is copied at all.
Writing each part to its place in the whole at once would save the copy everywhere, but only the sender knows the size
of the parts before, and it does not tell.
"""

import asyncio
import errno
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import AsyncIterable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stillmotion.errors import NotFound
from stillmotion.files.blobs import sync_folder
from stillmotion.files.streams import MIB, removed_on_failure, write_stream

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_WHOLE = "whole"
_COPY = 8 * MIB
"""Bytes copied by one call: a long one cannot be interrupted."""
_NOT_IN_KERNEL = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM})
"""What kernels, file systems and sandboxes answer that cannot copy from file to file."""
_LOST = "The parts of this upload are lost; upload the file again."


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A part on disk: the name of its file, its size in bytes and the MD5 of its content in hexadecimal."""

    file: str
    size: int
    md5: str


class UploadParts:
    """A folder below ``root`` for each upload. One process owns ``root``; ids are made here and never by a client."""

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve()
        sync_folder(self._root.parent)

    async def write(self, upload: str, source: AsyncIterable[bytes], max_bytes: int) -> WrittenPart:
        """Stores one part; on return it outlives a power cut. Raises FileTooLargeError and OSError, leaving nothing."""
        folder = self._root / upload
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / secrets.token_hex(16)
        with removed_on_failure(path):
            with _DigestingWriter(path.open("xb", buffering=0)) as file:
                size = await write_stream(file, source, max_bytes)
                await asyncio.to_thread(_sync, file, folder)
            return WrittenPart(path.name, size, file.digest.hexdigest())

    async def delete(self, upload: str, file: str) -> None:
        """Removes a part that does not count (any more), if it is there."""
        await asyncio.to_thread((self._root / upload / file).unlink, missing_ok=True)

    async def join(self, upload: str, parts: Iterable[tuple[str, int]]) -> Path:
        """The parts, (file, size) in their order, as one file, which the caller moves away before ``drop``.

        Given the same parts again it goes on where an earlier call was cut off, by a power cut too. Raises NotFound
        when a part is lost, OSError; both leave what is there.
        """
        return await asyncio.to_thread(_join, self._root / upload, tuple(parts))

    async def drop(self, upload: str) -> None:
        """Removes all that is left of an upload."""
        await asyncio.to_thread(shutil.rmtree, self._root / upload, ignore_errors=True)

    async def keep_only(self, uploads: Mapping[str, Collection[str]]) -> list[str]:
        """Removes what none of these uploads, with these files, still needs; gives its paths. At start only."""
        return await asyncio.to_thread(self._keep_only, uploads)

    def _keep_only(self, uploads: Mapping[str, Collection[str]]) -> list[str]:
        removed = []
        for folder in sorted(self._root.iterdir()):
            if folder.name not in uploads:
                shutil.rmtree(folder)
                removed.append(folder.name)
                continue
            for path in sorted(folder.iterdir()):
                if path.name != _WHOLE and path.name not in uploads[folder.name]:
                    path.unlink()
                    removed.append(f"{folder.name}/{path.name}")
        return removed


class _DigestingWriter(io.BufferedWriter):
    """Knows the MD5 of what was written: the ETag that object stores give a part, so that clients can compare it."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.digest = hashlib.md5(usedforsecurity=False)

    def write(self, buffer: "ReadableBuffer") -> int:
        self.digest.update(buffer)
        return super().write(buffer)


def _sync(file: io.BufferedWriter, folder: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    sync_folder(folder)
    sync_folder(folder.parent)


def _join(folder: Path, parts: tuple[tuple[str, int], ...]) -> Path:
    whole = folder / _WHOLE
    if not whole.exists():
        first = folder / parts[0][0]
        if not first.exists():
            raise NotFound(_LOST)
        first.rename(whole)
        sync_folder(folder)
    end = 0
    with whole.open("r+b") as target:
        for file, size in parts:
            part = folder / file
            if part.exists():
                _copy(part, target, end, size)
                # Deleted only when its copy would survive: a power cut must not take both.
                os.fsync(target.fileno())
                part.unlink()
            end += size
            # One that is not there was joined before, or else something took it.
            if os.fstat(target.fileno()).st_size < end:
                raise NotFound(_LOST)
    return whole


def _copy(part: Path, target: io.BufferedRandom, start: int, size: int) -> None:
    """Copies a part to ``start`` of ``target``, inside the kernel where it can do that."""
    done = 0
    with part.open("rb") as source:
        while done < size:
            count = _copy_some(source.fileno(), target.fileno(), done, start + done, min(_COPY, size - done))
            if not count:
                raise NotFound(_LOST)
            done += count


def _copy_some(source: int, target: int, source_offset: int, target_offset: int, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, count, source_offset, target_offset)
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
    return os.pwrite(target, os.pread(source, min(count, MIB), source_offset), target_offset)
