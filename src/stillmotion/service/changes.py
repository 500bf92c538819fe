"""Wakes those who wait for something to change, inside this process."""

import asyncio
from collections import defaultdict


class Changes:
    """Named events without a history: a waiter is told of what happens after it began to wait.

    Only a shortcut: what changed is read from the store, and a waiter looks there again on its own after a while, so
    a change made by another process is seen as well.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def announce(self, name: str) -> None:
        for future in self._waiting.pop(name, ()):
            if not future.done():
                future.set_result(None)

    async def wait(self, name: str, timeout: float) -> None:
        """Returns at the next ``announce(name)``, or after ``timeout`` seconds."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[name].add(future)
        try:
            await asyncio.wait([future], timeout=timeout)
        finally:
            if waiting := self._waiting.get(name):
                waiting.discard(future)
                if not waiting:
                    del self._waiting[name]
