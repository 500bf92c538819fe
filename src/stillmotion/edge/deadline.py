"""A timer that is set, cleared and set again."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls ``then`` once, unless it is cleared first. Setting one that is set changes nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        if self._handle is None:
            self._handle = self._loop.call_later(seconds, self._expire, then)

    def clear(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _expire(self, then: Callable[[], None]) -> None:
        self._handle = None
        then()
