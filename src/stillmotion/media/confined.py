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
    """The process gave no answer: it met a bound, crashed in a decoder, or told why on stderr."""


async def ask(module: str, order: Mapping[str, Any], *, seconds: float) -> Any:
    """What ``module`` answers to ``order``, within ``seconds`` of wall time. Raises ChildFailed, TimeoutError."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, json.dumps({**order, "parent": os.getpid()})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is for the server
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
        raise ChildFailed(lines[-1] if lines else f"exit status {child.returncode}")
    return json.loads(answer)


def obey(work: Callable[[dict[str, Any]], Any], *, memory: int, cpu_seconds: int, niceness: int) -> None:
    """The child's side: does ``work`` within bounds (bytes of address space, seconds of processor time)."""
    order = json.loads(sys.argv[1])
    end_with_parent(order.pop("parent"))
    confine(memory=memory, cpu_seconds=cpu_seconds, niceness=niceness)
    json.dump(work(order), sys.stdout)
