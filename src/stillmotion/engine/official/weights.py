"""Tensors of a safetensors file, read into their final place.

The file is read, not mapped: mapping one of 46 GB fails on hosts whose memory and swap are smaller, although no more
than a chunk of it is ever needed outside its final place.
"""

import os
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from stillmotion.engine.official.header import Entry
from stillmotion.engine.official.placement import FP8, Source
from stillmotion.errors import BundleError

_CHUNK = 16 * 2**20
"""Bytes: large enough for a disk's full speed, small beside any network."""

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, FP8: torch.float8_e4m3fn}


class WeightReader:
    """Reads from the file at ``path`` to ``device``; a context manager that holds the file open."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._path, self._device = path, device
        # Pinned memory reaches a GPU without another copy.
        self._staging = torch.empty(_CHUNK, dtype=torch.uint8, pin_memory=device.type == "cuda")

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise self._fault(error.strerror or str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self, source: Source, dtype: torch.dtype) -> Tensor:
        """The tensor, converted to ``dtype`` and, where it is scaled, multiplied in fp32 before it is rounded."""
        entry, stored = source.entry, _DTYPES[source.entry.dtype]
        tensor = torch.empty(entry.shape, dtype=dtype, device=self._device)
        flat = tensor.view(-1)
        if stored == dtype and self._device.type == "cpu":
            self._fill(flat.view(torch.uint8), entry.begin)
            return tensor
        scale = None if source.scale is None else self._number(source.scale)
        step = _CHUNK // stored.itemsize
        for first in range(0, len(flat), step):
            part = flat[first : first + step]
            staged = self._staging[: len(part) * stored.itemsize]
            self._fill(staged, entry.begin + first * stored.itemsize)
            values = staged.view(stored)
            part.copy_(values if scale is None else values.to(self._device).float().mul_(scale))
        return tensor

    def _number(self, entry: Entry) -> float:
        staged = self._staging[:4]
        self._fill(staged, entry.begin)
        return float(staged.view(torch.float32))

    def _fill(self, raw: Tensor, offset: int) -> None:
        """Bytes of the file from ``offset`` into ``raw`` (uint8, on the CPU)."""
        rest = memoryview(raw.numpy().data)
        while rest:
            try:
                count = os.preadv(self._file, [rest], offset)
            except OSError as error:
                raise self._fault(error.strerror or str(error)) from error
            if not count:
                raise self._fault("it became shorter while it was read")
            rest, offset = rest[count:], offset + count

    def _fault(self, reason: str) -> BundleError:
        return BundleError(f"{self._path} cannot be read: {reason}")
