"""Whether a file on disk is the one that was published."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from stillmotion.errors import BundleError
from stillmotion.hub import HubFile

CHUNK = 8 << 20
"""Bytes read at a time: large enough that hashing, at about 1.5 GB/s with SHA extensions, is what takes the time."""


def sha256(path: Path, progress: Callable[[int], None] = lambda count: None) -> str:
    """Of the file's bytes, as 64 hexadecimal digits; ``progress`` is told of each chunk's size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            progress(len(chunk))
    return digest.hexdigest()


def git_id(path: Path) -> str:
    """Git's name for the file's content; for small files, which the hub publishes no other checksum of."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def check(path: Path, file: HubFile) -> str:
    """The SHA-256 of ``path`` if its bytes are those of ``file``. Raises BundleError."""
    size = path.stat().st_size
    if size != file.size:
        raise BundleError(f"{file.path} has {size:,} bytes, {file.repository} lists {file.size:,}")
    found = sha256(path)
    matches = found == file.sha256 if file.sha256 else git_id(path) == file.git_id
    if not matches:
        raise BundleError(f"{file.path} does not have the checksum that {file.repository} lists: pull again")
    return found


def is_same(path: Path, file: HubFile) -> bool:
    """Whether the bytes of ``path`` are those of ``file``; reads the file only if its size is the same."""
    try:
        check(path, file)
    except (BundleError, OSError):
        return False
    return True
