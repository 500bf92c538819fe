"""A safetensors file that is somebody else's, opened once and read one tensor at a time.

Tensors are read with ``pread`` and not from a mapping: a mapped file that is cut short under a running engine kills
the process, and a mapping of 7.6 GB counts as its memory.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from stillmotion.engine.official.header import Entry, Header, read_header
from stillmotion.errors import BundleError, EngineError, UnfitLora

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells, without reading it, that a file is the one that was read before."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class TensorFile:
    """The header of the file at ``path``, and its tensors on demand.

    Raises UnfitLora that says what is wrong with the file, or EngineError where it cannot be read or has changed since
    it was opened. Messages have the file's name without its folder: they reach whoever sent it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp = stamp(path)
        header = self._header()
        self.metadata: Mapping[str, str] = header.metadata
        self.entries: Mapping[str, Entry] = header.tensors
        for key, entry in self.entries.items():
            if entry.dtype not in DTYPES:
                types = ", ".join(DTYPES)
                raise UnfitLora(
                    f"{path.name} cannot be used: {shown(key)} is of type {entry.dtype}, not one of {types}", path
                )

    @cached_property
    def sha256(self) -> str:
        """Of the whole file; about a second per gigabyte, once."""
        with self._opened() as descriptor, open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, key: str) -> Tensor:
        """The tensor, in memory of its own on the CPU, in the file's dtype."""
        entry = self.entries[key]
        data = torch.empty(entry.end - entry.begin, dtype=torch.uint8)
        rest, offset = memoryview(data.numpy().data), entry.begin
        with self._opened() as descriptor:
            while rest:
                count = os.preadv(descriptor, [rest], offset)
                if not count:
                    raise EngineError(f"{self.path.name} became shorter while it was read")
                rest, offset = rest[count:], offset + count
        return data.view(DTYPES[entry.dtype]).view(entry.shape)

    def _header(self) -> Header:
        try:
            return read_header(self.path)
        except BundleError as error:  # this file is not a bundle's
            reason = error.message.replace(str(self.path), self.path.name)
            with self._opened() as descriptor:
                start = os.pread(descriptor, 8, 0)
            # As the length of a header it would exceed the file.
            if start.startswith(_PICKLES) and int.from_bytes(start, "little") > self.stamp.size:
                reason = f"{self.path.name} is a pickle, which can run code when it is opened, not safetensors"
            raise UnfitLora(reason, self.path) from error

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                if Stamp.of(os.fstat(descriptor)) != self.stamp:
                    raise EngineError(f"{self.path.name} was changed while it was in use")
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unreadable(self.path, error) from error


def stamp(path: Path) -> Stamp:
    """Raises EngineError if ``path`` is not a file that can be read."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its other end
        raise EngineError(f"{path.name} is not a file")
    return Stamp.of(status)


def shown(text: str, limit: int = 120) -> str:
    """A word out of a file, fit for a message: printable, and no longer than ``limit``."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text[: limit + 1])
    return printable if len(printable) <= limit else printable[: limit - 3] + "..."


def _unreadable(path: Path, error: OSError) -> EngineError:
    return EngineError(f"{path.name} cannot be read: {error.strerror or error}")
