"""What a child process does to itself first: it ends with its parent, and bounds what a stranger's file can cost."""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Has the system kill this process when ``parent`` (its pid, as the parent knows it) ends. Linux only.

    The signal follows the thread that started this process: start children from a thread that lives as long.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def confine(*, memory: int, cpu_seconds: int, niceness: int) -> None:
    """Bounds address space (bytes) and processor time; with both a hostile file costs what we decide."""
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (value, value))
        except (ValueError, OSError):
            # macOS refuses RLIMIT_AS below what is mapped already; a container may set lower hard limits.
            continue
    os.nice(niceness)
