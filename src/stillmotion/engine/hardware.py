"""How much memory this machine has for an engine."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

RESERVE = 2**30
"""Bytes of a device that are left alone: kernels, the libraries' workspaces, and what the allocator cannot use."""

HOST_RESERVE = 4 * 2**30
"""Bytes of the host that are left to everything else: frames on their way to a file, other processes."""

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes."""

    total: int
    free: int


def device_memory(device: torch.device) -> Memory:
    """Of ``device``; of the host for a CPU, whose memory that is."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what an engine before this one has left
        free, total = torch.cuda.mem_get_info(device)
        return Memory(total=total, free=free)
    if device.type == "mps":
        total = torch.mps.recommended_max_memory()
        return Memory(total=total, free=max(0, total - torch.mps.driver_allocated_memory()))
    return host_memory()


def host_memory() -> Memory:
    """Of this machine, or of the container that this process runs in."""
    numbers = dict(_meminfo())
    total, free = numbers.get("MemTotal", 0), numbers.get("MemAvailable", 0)
    if not total:  # not Linux: nothing portable tells what is free
        total = free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup("memory.max")
    if limit is not None and limit < total:
        # What is cached of files is given back when it is wanted.
        used = (_cgroup("memory.current") or 0) - (_cgroup_stat("inactive_file") or 0)
        total, free = limit, min(free, max(0, limit - used))
    return Memory(total=total, free=free)


def _meminfo() -> list[tuple[str, int]]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    fields = (line.split() for line in lines)
    return [(name.rstrip(":"), int(value) * 1024) for name, value, *_ in fields]


def _cgroup(name: str) -> int | None:
    try:
        text = (_CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _cgroup_stat(name: str) -> int | None:
    try:
        lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(value) for field, value in (line.split() for line in lines) if field == name), None)
