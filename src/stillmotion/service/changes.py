"""Wakes those who wait for something to change, inside this process."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


def progress_of(id: str) -> str:
    """The name under which the steps of a request are announced; its stored changes are announced under its id."""
    return f"{id} progress"


class Changes:
    """Named events without a history: a waiter is told of what happens from the moment on that it watches.

    Only a shortcut: what changed is read from the store, and a waiter looks there again on its own after a while, so
    a change made by another process is seen as well.
    """

    def __init__(self) -> None:
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._soon: set[str] = set()

    def announce(self, name: str) -> None:
        for watch in tuple(self._watches.get(name, ())):
            watch.tell(name)

    def announce_soon(self, name: str, seconds: float) -> None:
        """Announces once for all calls within ``seconds``: for what many watch and what changes often."""
        if name not in self._soon:
            self._soon.add(name)
            asyncio.get_running_loop().call_later(seconds, self._announce_late, name)

    @contextmanager
    def watch(self, *names: str) -> "Iterator[Watch]":
        """What is announced while the block lasts is not missed, whether it is waited for at that moment or not."""
        watch = Watch()
        for name in names:
            self._watches[name].add(watch)
        try:
            yield watch
        finally:
            for name in names:
                self._watches[name].discard(watch)
                if not self._watches[name]:
                    del self._watches[name]

    async def wait(self, name: str, timeout: float) -> None:
        """Returns at the next ``announce(name)``, or after ``timeout`` seconds."""
        with self.watch(name) as watch:
            await watch.next(timeout)

    def _announce_late(self, name: str) -> None:
        self._soon.discard(name)
        self.announce(name)


class Watch:
    """The announcements of some names, gathered until somebody asks."""

    __slots__ = ("_future", "_told")

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._future: asyncio.Future[None] | None = None

    def tell(self, name: str) -> None:
        self._told.add(name)
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def next(self, timeout: float) -> frozenset[str]:
        """What was announced since the last call, as soon as there is something; empty after ``timeout`` seconds."""
        if not self._told:
            self._future = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._future], timeout=timeout)
        told, self._told = frozenset(self._told), set()
        return told
