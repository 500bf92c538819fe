"""Bytes that arrive on the event loop, written to a file in threads."""

import asyncio
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stillmotion.errors import FileTooLargeError

MIB = 1024 * 1024
_BUFFER = MIB
"""Bytes gathered before a thread writes them; one hop to a thread costs about 50 us, as much as 100 KiB of writing."""


async def write_stream(file: BinaryIO, chunks: AsyncIterable[bytes], max_bytes: int | None = None) -> int:
    """Writes ``chunks`` to ``file`` and gives their size in bytes. Raises FileTooLargeError past ``max_bytes``.

    ``file`` must be a buffered one: its lock lets the caller close it while a thread still writes.
    """
    size = 0
    pending = bytearray()
    async for chunk in chunks:
        size += len(chunk)
        check_size(size, max_bytes)
        pending += chunk
        if len(pending) >= _BUFFER:
            await asyncio.to_thread(file.write, pending)
            pending = bytearray()  # not emptied: a thread whose task was cancelled may still read the old one
    await asyncio.to_thread(file.write, pending)
    return size


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Leaves no file at ``path`` if the block raises or is cancelled."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def check_size(size: int, max_bytes: int | None) -> None:
    """Raises FileTooLargeError if ``size`` is more than ``max_bytes``."""
    if max_bytes is not None and size > max_bytes:
        limit = f"{max_bytes / MIB:g} MiB" if max_bytes % MIB == 0 else f"{max_bytes} bytes"
        raise FileTooLargeError(f"the file is larger than {limit}", max_size=max_bytes)
