"""When a submit means an earlier request: by its Idempotency-Key, or because the reply to an equal one was lost.

fal's clients send a POST again, up to ten times, when its connection broke before the reply, and nothing in it says so.
A submit without a key therefore means an earlier request if that one is equal in all that was asked for and its reply
was lost: its client left before it was written, or the process died with it. What was answered, or is being answered,
is never meant: four equal requests that are wanted four times are four. The database holds every request whose reply
was not written (``store/duplicates.py``); this module knows which of those replies are still under way.

In memory there are the replies under way, and for each reply lost in the last ``lost_reply_seconds`` a digest and a
time.
"""

import asyncio
from collections.abc import Callable

import structlog

from stillmotion.errors import Unavailable
from stillmotion.service.clock import wall_clock
from stillmotion.store import duplicates
from stillmotion.store.driver import Store
from stillmotion.store.duplicates import Identity, Keyed, Unkeyed, Written

log = structlog.get_logger()

SWEEP_SECONDS = 5.0
BATCH = 500
"""Most expired keys that are deleted in one transaction: about 5 ms."""


class Reply:
    """The reply to one submit, from before its request is stored. Whoever has it says ``end`` once, whatever comes."""

    __slots__ = ("_repeats", "digest", "gone", "holder", "id", "sending")

    def __init__(self, repeats: "Repeats", gone: Callable[[], bool]) -> None:
        self._repeats = repeats
        self.gone = gone
        """Whether the client is known to have left. Only asked until the reply is being sent: who has it may leave."""
        self.digest = ""
        """Empty: no request can be found by this reply."""
        self.holder = ""
        self.id: str | None = None
        self.sending = False

    def end(self, *, written: bool) -> None:
        """``written``: the client was there, and the whole reply was handed to the system."""
        self._repeats.ended(self, written=written)


class Repeats:
    """``key_seconds``: how long a key means its request. ``lost_reply_seconds``: how long after a POST an equal one
    can mean its request; 0: it never does."""

    def __init__(self, store: Store, *, key_seconds: float, lost_reply_seconds: float) -> None:
        self._store = store
        self._key_seconds = key_seconds
        self._seconds = lost_reply_seconds
        self._open: dict[str, dict[str, Reply]] = {}  # by digest, by holder; until the database is told of their end
        self._lost: dict[str, float] = {}  # digests, and until when they matter; the first goes first
        self._written: list[Reply] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learns which replies an earlier process owes."""
        await self._sweep()
        owed = await self._store.read(duplicates.unanswered())
        self._lost = {digest: at + self._seconds for digest, at in owed}
        self._sweeper = asyncio.create_task(self._sweep_forever())

    async def close(self) -> None:
        """Notes what was written; the other replies are owed by the next process."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self._note()

    def expect(self, gone: Callable[[], bool]) -> Reply:
        """A reply to a submit that is about to be made; ``gone`` tells whether its client is known to have left."""
        return Reply(self, gone)

    def identity(self, digest: str, holder: str, *, key: str | None, reply: Reply | None) -> Identity | None:
        """How the transaction of a submit finds the request that it means, and is found later.

        That transaction must be asked for at once: transactions are made in the order in which they are asked for, so
        an equal submit that is not among ``answering`` was lost, or is stored later than this one.
        """
        now = wall_clock()
        if key is not None:
            return Keyed(key=key, digest=digest, expires_at=now + self._key_seconds)
        if reply is None or not self._seconds:
            return None
        others = self._open.setdefault(digest, {})
        left = {other.holder for other in others.values() if not other.sending and other.gone()}
        known = left or self._lost.get(digest, now) > now
        answering = frozenset(others.keys() - left) if known else None
        reply.digest, reply.holder = digest, holder
        others[holder] = reply
        return Unkeyed(digest=digest, since=now - self._seconds, answering=answering)

    def ended(self, reply: Reply, *, written: bool) -> None:
        if not reply.digest:
            return
        if written and reply.id is not None:
            if not self._written:
                # With the others of this turn of the loop, and no later: to a process that is killed before, it is a
                # reply that was lost.
                asyncio.get_running_loop().call_soon(self._note)
            self._written.append(reply)
        else:
            self._close(reply)
            self._lost.pop(reply.digest, None)  # it goes behind those that matter less long
            self._lost[reply.digest] = wall_clock() + self._seconds

    def _note(self) -> None:
        replies, self._written = self._written, []
        written = [Written(digest=reply.digest, id=reply.id, holder=reply.holder) for reply in replies if reply.id]
        if written:
            self._store.note(duplicates.answered(written))
        for reply in replies:
            self._close(reply)

    def _close(self, reply: Reply) -> None:
        others = self._open[reply.digest]
        del others[reply.holder]
        if not others:
            del self._open[reply.digest]

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._sweep()
            except Unavailable:
                log.warning("keys and replies whose time is over could not be forgotten; tried again later")

    async def _sweep(self) -> None:
        now = wall_clock()
        while self._lost and self._lost[digest := next(iter(self._lost))] <= now:
            del self._lost[digest]
        before = now - self._seconds
        oldest = await self._store.read(duplicates.oldest_unanswered())
        if oldest is not None and oldest <= before:
            await self._store.write(duplicates.forget_unanswered(before=before))
        while keys := await self._store.read(duplicates.expired_keys(now=now, most=BATCH)):
            await self._store.write(duplicates.drop_keys(keys))
