"""Work on one file at arm's length: a short-lived process of bounded memory and time, asked once.

``python -m MODULE ORDER``: the order is one argument of JSON, the answer one line of JSON on stdout. The module
begins with ``obey``.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from stillmotion.media.confinement import confine, end_with_parent


class ChildFailed(OSError):
    """The process gave no answer. ``killed``: it met a bound or crashed in a decoder; else it told why on stderr."""

    def __init__(self, told: str, *, killed: bool) -> None:
        super().__init__(told)
        self.killed = killed


async def ask(module: str, order: Mapping[str, Any], *, seconds: float) -> Any:
    """What ``module`` answers to ``order``, within ``seconds`` of wall time. Raises ChildFailed, TimeoutError."""
    # The order travels as an argument: writing to the stdin of a child that has just started failed once in some
    # ten thousand starts under uvloop ("the handler is closed").
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, json.dumps({**order, "parent": os.getpid()})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is for the server, which may still finish its requests
    )
    try:
        async with asyncio.timeout(seconds):
            answer, complaint = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        lines = complaint.decode(errors="replace").strip().splitlines()
        told = lines[-1] if lines else f"exit status {child.returncode}"
        raise ChildFailed(told, killed=child.returncode < 0)
    return json.loads(answer)


def obey(work: Callable[[dict[str, Any]], Any], *, memory: int, cpu_seconds: int, niceness: int) -> None:
    """The child's side: does ``work`` within bounds (bytes of address space, seconds of processor time)."""
    order = json.loads(sys.argv[1])
    end_with_parent(order.pop("parent"))
    confine(memory=memory, cpu_seconds=cpu_seconds, niceness=niceness)
    json.dump(work(order), sys.stdout)
