"""Keeps the engines busy: claims waiting requests, runs their attempts, and recovers what others left behind."""

import asyncio
import uuid
from contextlib import suppress

import structlog

from stillmotion.errors import Unavailable
from stillmotion.job import Progress
from stillmotion.service.attempt import ENGINE_LOST, Attempt, Parts, Phase
from stillmotion.service.changes import Changes
from stillmotion.service.clock import wall_clock
from stillmotion.service.engines import Engine, Engines
from stillmotion.service.forgetting import forget_unread_forever
from stillmotion.service.start_deadlines import end_late_forever
from stillmotion.service.webhook_delivery import OUTBOX
from stillmotion.store import outbox, transitions
from stillmotion.store.records import Claim, Fence

log = structlog.get_logger()

QUEUE = "queue"
"""Announced in ``Changes`` when a request was queued."""
MOVED = "queue moved"
"""Announced, at most once in ``MOVED_SECONDS``, after requests left the queue: the others are further ahead."""
MOVED_SECONDS = 1.0
POLL_SECONDS = 1.0
"""A claimer looks at the queue this often on its own, for requests that another process queued."""


class Runner:
    """A claimer for every slot of every engine, and the recovery of lost attempts."""

    def __init__(self, parts: Parts, changes: Changes, engines: Engines) -> None:
        self._parts = parts
        self._changes = changes
        self.engines = engines
        # By fence, not by request: an attempt that lost its lease may still be ending when the next one begins.
        self._attempts: dict[Fence, Attempt] = {}
        self._claiming = True
        self._claimers: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Recovers the requests of an earlier process, clears its leftovers, and begins to claim."""
        await self._parts.blobs.clear_work()
        await self._recover()
        await self._parts.store.write(transitions.end_orphaned_runs(now=wall_clock()))
        await self._sweep()
        self._claimers = [
            asyncio.create_task(self._claim_forever(engine)) for engine in self.engines for _ in range(engine.slots)
        ]
        self._tasks = [
            asyncio.create_task(self._recover_forever()),
            asyncio.create_task(forget_unread_forever(self._parts)),
            asyncio.create_task(end_late_forever(self._parts.store, self._changes)),
        ]

    def cancel(self, id: str) -> None:
        """Ends the attempt at ``id`` soon, if this process is making one."""
        for attempt in self._attempts.values():
            if attempt.id == id:
                attempt.stop("cancelled")

    def progress(self, id: str) -> Progress | None:
        """The last denoising step of the attempt at ``id``, if this process is making one."""
        return next((attempt.progress for attempt in self._attempts.values() if attempt.id == id), None)

    def phase(self, id: str) -> Phase | None:
        """Where the attempt at ``id`` is, if this process is making one."""
        return next((attempt.phase for attempt in self._attempts.values() if attempt.id == id), None)

    def preview(self, id: str) -> bytes | None:
        """The newest preview picture of the attempt at ``id``, if this process is making one that has any."""
        return next((attempt.preview for attempt in self._attempts.values() if attempt.id == id), None)

    async def drain(self, seconds: float) -> None:
        """Claims nothing more; attempts that are not done after ``seconds`` are given back, uncounted."""
        self._claiming = False
        self._changes.announce(QUEUE)
        if self._claimers:
            await asyncio.wait(self._claimers, timeout=seconds)
        for attempt in list(self._attempts.values()):
            attempt.stop("stopping")
        if self._claimers:
            await asyncio.wait(self._claimers)

    async def close(self) -> None:
        """Ends everything; attempts that still run are given back."""
        await self.drain(0)
        for task in (*self._claimers, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._claimers, *self._tasks, return_exceptions=True)

    async def withdraw(self, name: str) -> Engine:
        """The engine called ``name`` ends what it works at, takes no more, and frees its device. Raises NotFound."""
        engine = self.engines.get(name)
        engine.withdrawn = True
        await self._free_if_drained(engine)
        return engine

    def readmit(self, name: str) -> Engine:
        """The engine called ``name`` takes requests again. Raises NotFound."""
        engine = self.engines.get(name)
        engine.withdrawn = False
        self._changes.announce(QUEUE)
        return engine

    async def _free_if_drained(self, engine: Engine) -> None:
        if engine.state == "drained":
            await engine.executor.unload()
            engine.model = None

    async def _claim_forever(self, engine: Engine) -> None:
        while self._claiming:
            claim = None if engine.withdrawn else await self._claim(engine)
            if claim is None:
                await self._changes.wait(QUEUE, POLL_SECONDS)
                continue
            attempt = Attempt(self._parts, claim, engine.executor, self._changes.announce)
            self._attempts[claim.fence] = attempt
            self._changes.announce(claim.fence.id)
            self._changes.announce_soon(MOVED, MOVED_SECONDS)
            engine.running.add(claim.fence.id)
            engine.model, engine.weights = self._parts.models.of(claim.endpoint).name, claim.weights
            try:
                state = await attempt.run()
            except Exception:
                # Whatever it was, the lease runs out and the request is recovered; the claimer must live on.
                log.exception("attempt broke", request=claim.fence.id)
                state = None
            finally:
                del self._attempts[claim.fence]
                engine.running.discard(claim.fence.id)
            await self._free_if_drained(engine)
            self._changes.announce(claim.fence.id)
            self._changes.announce(QUEUE if state == "queued" else OUTBOX)

    async def _claim(self, engine: Engine) -> Claim | None:
        store, expires = self._parts.store, self._parts.store.tick() + self._parts.policy.lease
        selection = self.engines.selection(engine)
        with suppress(Unavailable):
            return await store.write(
                transitions.claim(
                    str(uuid.uuid4()), now=wall_clock(), expires=expires, selection=selection, engine=engine.name
                )
            )
        return None

    async def _recover_forever(self) -> None:
        while True:
            await asyncio.sleep(self._parts.policy.lease / 3)
            with suppress(Unavailable):
                await self._recover()

    async def _recover(self) -> None:
        store = self._parts.store
        before = await store.recovery_deadline()
        for id, state in await store.write(transitions.recover(now=wall_clock(), before=before, failure=ENGINE_LOST)):
            log.warning("request recovered", request=id, state=state)
            self._changes.announce(id)
            self._changes.announce(QUEUE)
        for id in await store.write(outbox.recover(now=wall_clock(), before=before)):
            log.warning("webhook delivery recovered", request=id)
        self._changes.announce(OUTBOX)

    async def _sweep(self) -> None:
        """Deletes files that no row names: their attempt was cut off between the file and the row."""
        known = await self._parts.store.read(transitions.all_files())
        async for name in self._parts.blobs.names():
            if name not in known:
                await self._parts.blobs.delete(name)
                log.info("orphaned file deleted", file=name)
