"""How many requests wait before one: a read that is cached, never a count over the table.

A Python client asks ten times a second for each waiting request; at a backlog of 90,000 a count costs 9 ms.
"""

import time
from bisect import bisect_left

from stillmotion.store import transitions
from stillmotion.store.driver import Store

READING_SHARE = 0.05
"""Of the time, at most this much is spent reading: the list is 20 times as old as its reading took, at least 20 ms."""
HEAD = 10_000
"""Requests whose exact place is known; reading them costs 15 ms. Behind them the sequence numbers tell."""


class QueuePositions:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._fresh_until = float("-inf")
        self._head: list[int] = []

    async def of(self, seq: int) -> int:
        """Requests ahead of the one numbered ``seq``, 0 for the next. Exact within ``HEAD``, an upper bound beyond."""
        began = time.monotonic()
        if began > self._fresh_until:
            # Set before the read: those who ask meanwhile use the older list instead of queueing up for a newer one.
            self._fresh_until = float("inf")
            try:
                self._head = await self._store.read(transitions.queued(HEAD))
            finally:
                now = time.monotonic()
                self._fresh_until = now + max(0.02, (now - began) / READING_SHARE)
        ahead = bisect_left(self._head, seq)
        if ahead == HEAD:
            ahead += seq - self._head[-1] - 1
        return ahead
