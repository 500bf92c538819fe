"""One claimed request, from its stored input to its settled state."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import structlog

from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.errors import EngineLost, GenerationTimeout, StillmotionError, Unavailable
from stillmotion.executor.base import Executor
from stillmotion.files.blobs import LocalBlobs
from stillmotion.job import Cancelled, Done, Failed, Log, Progress, Work
from stillmotion.media.thumbnail import CONTENT_TYPE as POSTER_TYPE
from stillmotion.service import faults
from stillmotion.service.changes import progress_of
from stillmotion.service.clock import wall_clock
from stillmotion.service.expectation import effort_of
from stillmotion.service.journal import Journal
from stillmotion.service.models import Models
from stillmotion.service.preparation import Preparation, Prepared
from stillmotion.service.rules import Rules
from stillmotion.store import transitions
from stillmotion.store.driver import Store
from stillmotion.store.records import (
    Claim,
    Error,
    FailedFor,
    FileRole,
    Made,
    Outcome,
    State,
    StoredFile,
    Succeeded,
    WasCancelled,
)
from stillmotion.store.transitions import Transaction

log = structlog.get_logger()
Result = TypeVar("Result")

FILES_PATH = "/files/"
"""Where outputs are served; stored outputs hold this path, and the wire puts the client's own host before it."""

MAX_PREVIEW = 1 << 16
"""Bytes of a preview picture; engines make them smaller than 20 kB."""

StopReason = Literal["cancelled", "lost", "stopping", "deadline"]
Phase = Literal["preparing", "starting", "denoising", "finishing"]
"""Bringing the input; before the first step, when a model may be loaded; between the steps; behind the last one."""
ENGINE_LOST = Error(kind=EngineLost.kind, message="The runner disconnected in every attempt.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Times and bounds of an attempt, in seconds where nothing else is said."""

    lease: float = 30.0
    heartbeat: float = 5.0
    deadline: float = 3600.0
    max_attempts: int = 3
    sync_mode: float = 3600.0
    """How long an output that is not to be kept waits for its reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an attempt works with."""

    store: Store
    blobs: LocalBlobs
    models: Models
    endpoints: Mapping[str, Endpoint]
    policy: Policy
    preparation: Preparation
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class _Retry:
    """The engine was lost: not the request's fault."""

    message: str


class Attempt:
    """Runs a claim to its end. ``run`` returns the state that was stored, or None when the fence was void."""

    def __init__(
        self, parts: Parts, claim: Claim, executor: Executor, announce: Callable[[str], None] = lambda name: None
    ) -> None:
        self._parts = parts
        self._executor = executor
        self._claim = claim
        self._fence = claim.fence
        self._announce = announce
        self._journal = Journal(
            parts.store, claim.fence, on_lost=lambda: self.stop("lost"), on_stored=lambda: announce(self.id)
        )
        self._stopped: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()
        self._preparing = True
        self.progress: Progress | None = None
        """The last denoising step that was done, once there is one."""
        self.preview: bytes | None = None
        """The newest preview picture, a JPEG; where one was asked for, once there is one."""
        self._adopted: list[str] = []
        self._execution_seconds = 0.0
        self._gpu_seconds: float | None = None

    @property
    def id(self) -> str:
        return self._claim.fence.id

    @property
    def phase(self) -> Phase:
        if self._preparing:
            return "preparing"
        if (step := self.progress) is None:
            return "starting"
        return "finishing" if step.step >= step.total and step.stage + 1 >= step.stages else "denoising"

    def stop(self, reason: StopReason) -> None:
        """Asks the attempt to end; the first reason counts. Work that was finished first stays finished."""
        if not self._stopped.done():
            self._stopped.set_result(reason)

    async def run(self) -> State | None:
        log.info("attempt started", request=self.id, attempt=self._fence.attempt)
        async with self._accompanied():
            outcome = await self._produce_or_stop()
        state = await self._finish(outcome)
        if state != "done":
            await self._delete_unclaimed()
        await self._parts.blobs.drop_work(self._work_name)
        log.info("attempt ended", request=self.id, attempt=self._fence.attempt, state=state)
        return state

    async def _delete_unclaimed(self) -> None:
        """Deletes files that no row names: a commit that was answered by an error may have happened all the same."""
        for name in self._adopted:
            with suppress(Unavailable):  # the sweep at the next start looks again
                if await self._parts.store.read(transitions.get_file(name)) is None:
                    await self._parts.blobs.delete(name)

    @property
    def _work_name(self) -> str:
        """Of this attempt alone: an earlier one that lost its lease may still be ending beside it."""
        return f"{self.id}-{self._fence.attempt}"

    @asynccontextmanager
    async def _accompanied(self) -> AsyncIterator[None]:
        """Heartbeat and journal run beside the work and end with it."""
        companions = [asyncio.create_task(self._beat_forever()), asyncio.create_task(self._journal.write_forever())]
        deadline = asyncio.get_running_loop().call_later(self._parts.policy.deadline, self.stop, "deadline")
        try:
            yield
        finally:
            deadline.cancel()
            for companion in companions:
                companion.cancel()
            await asyncio.gather(*companions, return_exceptions=True)

    async def _beat_forever(self) -> None:
        policy, store = self._parts.policy, self._parts.store
        held_until = store.tick() + policy.lease
        while True:
            await asyncio.sleep(policy.heartbeat)
            expires = store.tick() + policy.lease
            try:
                beat = await store.write(transitions.beat(self._fence, expires=expires))
            except Unavailable:
                if store.tick() > held_until:
                    self.stop("lost")
                continue
            held_until = expires
            if not beat.held:
                self.stop("lost")
            elif beat.cancel_requested:
                self.stop("cancelled")

    async def _produce_or_stop(self) -> Outcome | _Retry:
        work = asyncio.create_task(self._produce())
        stopped = asyncio.ensure_future(self._stopped)
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and self._preparing:
            work.cancel()
            await asyncio.wait((work,))
        while not work.done():
            # The engine ends between two steps, its executor kills it after a grace period. Told again and again,
            # because a work that waits for its engine to start is not known there yet.
            await self._executor.cancel(self._work_name)
            await asyncio.wait((work,), timeout=1.0)
        with suppress(asyncio.CancelledError):
            return await work
        return WasCancelled()

    async def _produce(self) -> Outcome | _Retry:
        try:
            return await self._make()
        except EngineLost as error:
            self._journal.add(error.message, "ERROR")
            return _Retry(error.message)
        except StillmotionError as error:
            return FailedFor(error=faults.stored(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("attempt failed unexpectedly", request=self.id)
            return FailedFor(error=faults.stored(StillmotionError("Internal server error")))

    async def _make(self) -> Outcome | _Retry:
        parts, claim = self._parts, self._claim
        endpoint = parts.endpoints[claim.endpoint]
        self._journal.add(f"attempt {self._fence.attempt} of {claim.max_attempts}")
        if parts.rules:
            await parts.rules.meet(claim.endpoint, json.loads(claim.input), self._journal.add)
        folder = parts.blobs.work(self._work_name)
        prepared = await parts.preparation.prepare(
            claim, endpoint, parts.models.of(claim.endpoint), folder, self._journal.add
        )
        end = await self._execute(prepared.work)
        match end:
            case Done():
                return await self._deliver(endpoint, prepared, end)
            case Failed(fatal=True):
                self._journal.add(end.message, "ERROR")
                return _Retry(end.message)
            case Failed():
                return FailedFor(error=faults.from_engine(end, prepared.raw))
            case Cancelled():
                return WasCancelled()

    async def _execute(self, work: Work) -> Done | Failed | Cancelled:
        self._preparing = False
        started = time.monotonic()
        end: Done | Failed | Cancelled | None = None
        async for event in self._executor.run(work):
            match event:
                case Log():
                    self._journal.add(event.message, event.level)
                case Progress():
                    if event.preview and work.preview:
                        self.preview = await asyncio.to_thread(_read_small, Path(work.preview.path)) or self.preview
                    self.progress = event
                    self._announce(progress_of(self.id))
                case Done() | Failed() | Cancelled():
                    end = event
        # The engine's own count has no waiting for it in it, but not every engine counts.
        self._execution_seconds = self._gpu_seconds = time.monotonic() - started
        if isinstance(end, Done):
            self._gpu_seconds = end.seconds.get("total", self._gpu_seconds)
        return end or Failed(kind=EngineLost.kind, message="the engine ended without an answer", fatal=True)

    async def _deliver(self, endpoint: Endpoint, prepared: Prepared, done: Done) -> Succeeded:
        job, policy = prepared.finished(done.prompt), self._parts.policy
        last = job.stages[-1]
        safety = self._parts.preparation.safety.outcome(prepared.work.job, done, id=self.id)
        made = Path(prepared.work.output)
        name = await self._parts.blobs.adopt(made, made.suffix.lstrip("."))
        self._adopted.append(name)
        output = endpoint.respond(job, done.media, FILES_PATH + name)
        now = time.time()
        file = self._file(name, "output", done.media.content_type, done.media.size, now)
        return Succeeded(
            output=json.dumps(output),
            files=(file, *await self._poster(prepared.work.poster, now)),
            model=job.model,
            safety=safety,
            computed=f"{last.width}x{last.height}, {last.num_frames} frames",
            inference_seconds=round(self._execution_seconds, 3),
            charge=prepared.charge,
            ephemeral=prepared.ephemeral,
            forget_at=now + policy.sync_mode if prepared.ephemeral or self._claim.private else None,
            effort=effort_of(job),
            made=Made(
                seed=None if self._claim.private else job.seed,
                width=done.media.width,
                height=done.media.height,
                num_frames=done.media.num_frames,
                fps=done.media.fps,
            ),
        )

    async def _poster(self, path: str | None, now: float) -> tuple[StoredFile, ...]:
        """The small picture beside the video, where there is one."""
        made = None if path is None else Path(path)
        if made is None or not made.is_file():
            return ()
        size = made.stat().st_size
        name = await self._parts.blobs.adopt(made, made.suffix.lstrip("."))
        self._adopted.append(name)
        return (self._file(name, "poster", POSTER_TYPE, size, now),)

    def _file(self, name: str, role: FileRole, content_type: str, size: int, now: float) -> StoredFile:
        kept = self._claim.file_seconds
        expires = None if kept is None else now + kept
        return StoredFile(
            name=name, content_type=content_type, size=size, expires_at=expires, role=role, acl=self._claim.acl
        )

    async def _finish(self, outcome: Outcome | _Retry) -> State | None:
        reason = self._stopped.result() if self._stopped.done() else None
        if reason == "lost":
            return None
        if isinstance(outcome, (WasCancelled, _Retry)) and reason == "stopping":
            return await self._release(ENGINE_LOST, counted=False)
        if isinstance(outcome, _Retry) and reason is None:
            return await self._release(Error(kind=EngineLost.kind, message=outcome.message), counted=True)
        if isinstance(outcome, (WasCancelled, _Retry)):
            outcome = FailedFor(error=faults.stored(GenerationTimeout())) if reason == "deadline" else WasCancelled()
        lines, seconds = self._journal.rest(), self._gpu_seconds
        settled = await self._insist(
            lambda: transitions.settle(self._fence, outcome, now=wall_clock(), gpu_seconds=seconds, lines=lines)
        )
        return _state(outcome) if settled else None

    async def _release(self, failure: Error, *, counted: bool) -> State | None:
        lines = self._journal.rest()
        return await self._insist(
            lambda: transitions.release(self._fence, now=wall_clock(), failure=failure, counted=counted, lines=lines)
        )

    async def _insist(self, transaction: Callable[[], Transaction[Result]]) -> Result | None:
        """Writes the end, again and again for as long as a lease lasts: a full disk must not cost a finished video."""
        give_up = self._parts.store.tick() + self._parts.policy.lease
        while True:
            try:
                return await self._parts.store.write(transaction())
            except Unavailable:
                if self._parts.store.tick() > give_up:
                    log.exception("the end of an attempt could not be stored", request=self.id)
                    return None
                await asyncio.sleep(0.5)


def _read_small(path: Path) -> bytes | None:
    """The file's bytes; None where it is absent, or larger than anybody would keep in memory for each request."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PREVIEW + 1)
    except OSError:
        return None
    return content if len(content) <= MAX_PREVIEW else None


def _state(outcome: Outcome) -> State:
    match outcome:
        case Succeeded():
            return "done"
        case FailedFor():
            return "failed"
        case WasCancelled():
            return "cancelled"
