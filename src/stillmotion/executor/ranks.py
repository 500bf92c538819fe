"""The further processes of an engine that computes on several devices at once, as its first process sees them.

The first process is the engine that the platform knows. It starts one follower for each further device and gives each
work to them just before it begins with it; from there on they meet in torch's own exchange alone. None of them outlives
the others: what one has lost, the rest would wait for in vain.
"""

import logging
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from stillmotion.executor.messages import Configure, Run, encode
from stillmotion.job import Work

logger = logging.getLogger(__name__)

JOIN = "+"
"""Between the devices of one engine: ``cuda:0+cuda:1``."""


class Followers:
    """One process for each device after the first. ``Followers.start`` makes them; they end with this process."""

    def __init__(self, processes: "list[subprocess.Popen[bytes]]") -> None:
        self._processes = processes
        for process in processes:
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    @classmethod
    def start(cls, configure: Configure, devices: list[str], meeting: Path) -> "Followers":
        processes = []
        for rank, device in enumerate(devices[1:], start=1):
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "stillmotion.executor.follower",
                    str(rank),
                    str(len(devices)),
                    str(meeting),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            processes.append(process)
            _send(process, encode(replace(configure, device=device, parent=os.getpid())))
        return cls(processes)

    def follow(self, work: Work) -> None:
        """Has every follower begin with ``work`` as well."""
        line = encode(Run(work=work))
        for process in self._processes:
            _send(process, line)

    @staticmethod
    def _watch(process: "subprocess.Popen[bytes]") -> None:
        code = process.wait()
        logger.error("the engine's process %d for another device ended with %d", process.pid, code)
        os._exit(1)


def _send(process: "subprocess.Popen[bytes]", line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def meeting_place() -> Path:
    """A file that the processes of one engine find each other by; it must not exist before the first of them."""
    return Path(tempfile.mkdtemp(prefix="stillmotion-ranks-")) / "meeting"
