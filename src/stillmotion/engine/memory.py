"""Running out of memory, told with numbers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stillmotion.errors import OutOfMemory

# The CPU's and MPS's allocators raise plain RuntimeErrors that only their text tells apart.
_SIGNS = ("DefaultCPUAllocator", "out of memory")
_WANTED = re.compile(r"[Tt]ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@contextmanager
def memory_told(what: str, device: torch.device) -> Iterator[None]:
    """Turns an allocation that fails on ``device`` into OutOfMemory, with numbers; ``what`` was computed."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        raise OutOfMemory(f"out of memory on {device} for {what}{_numbers(str(error), device)}") from error


def _numbers(text: str, device: torch.device) -> str:
    told = ""
    if wanted := _WANTED.search(text):
        told += f": {float(wanted[1]) * _UNITS[wanted[2]] / 2**30:.2f} GiB more were needed"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        told += f", {free / 2**30:.2f} of {total / 2**30:.2f} GiB were free"
    return told
