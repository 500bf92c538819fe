"""The log of one attempt on its way into the store: lines are gathered for a moment and written together."""

import asyncio
import time
from collections.abc import Callable

from stillmotion.errors import Unavailable
from stillmotion.store import transitions
from stillmotion.store.driver import Store
from stillmotion.store.records import Fence, LogLine

FLUSH_SECONDS = 0.1
"""A client that polls ten times a second sees a line at its next poll; 40 lines a second cost ten commits."""
MAX_LINES = 5000
MAX_CHARS = 4000


class Journal:
    """Collects lines with ``add``; ``write_forever`` stores them until it is cancelled; ``rest`` is what is left."""

    def __init__(
        self, store: Store, fence: Fence, *, on_lost: Callable[[], None], on_stored: Callable[[], None]
    ) -> None:
        self._store = store
        self._fence = fence
        self._on_lost = on_lost
        self._on_stored = on_stored
        self._pending: list[LogLine] = []
        self._count = 0
        self._added = asyncio.Event()

    def add(self, message: str, level: str = "INFO") -> None:
        self._count += 1
        if self._count > MAX_LINES:
            return
        if self._count == MAX_LINES:
            message, level = "the log is full; later lines are dropped", "WARN"
        self._pending.append(LogLine(at=time.time(), level=level, message=message[:MAX_CHARS]))
        self._added.set()

    def rest(self) -> list[LogLine]:
        """Lines not yet stored; the caller stores them together with the end of the attempt."""
        lines, self._pending = self._pending, []
        return lines

    async def write_forever(self) -> None:
        while True:
            await self._added.wait()
            self._added.clear()
            lines = self.rest()
            try:
                held = await self._store.write(transitions.append_logs(self._fence, lines))
            except Unavailable:
                # Logs wait for better times; the heartbeat decides whether the attempt goes on.
                self._pending = lines + self._pending
                await asyncio.sleep(1.0)
                self._added.set()
                continue
            except asyncio.CancelledError:
                # The shielded write goes on; its lines must not be stored twice, so they are not put back.
                raise
            if not held:
                self._on_lost()
                return
            self._on_stored()
            await asyncio.sleep(FLUSH_SECONDS)
