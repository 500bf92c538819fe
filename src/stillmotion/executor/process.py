"""The default home of engines: one child process, replaced when it dies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

from stillmotion.errors import ConfigurationError, EngineLost, StillmotionError
from stillmotion.executor.base import Capabilities
from stillmotion.executor.child import EngineProcess
from stillmotion.executor.messages import Configure, Tuning
from stillmotion.job import Cancelled, Done, Event, Failed, Log, Model, Progress, Work
from stillmotion.safety.configuration import Classifier


class Backoff:
    """The pause before an engine is started again: none after one death, then 1, 2, 4 ... up to 30 seconds."""

    def __init__(self, longest: float = 30.0) -> None:
        self._longest = longest
        self._deaths = 0

    def died(self) -> float:
        """Counts a death; the seconds to wait now."""
        self._deaths += 1
        return 0.0 if self._deaths == 1 else min(self._longest, 2.0 ** min(self._deaths - 2, 30))

    def proved_fit(self) -> None:
        self._deaths = 0


class ProcessExecutor:
    """Executes one work at a time in a child process that holds the model.

    ``bundles`` maps model names to bundle folders. The child starts with the first ``capabilities`` or ``run``, loads
    the first bundle at once and others when a work names them. A cancelled work that does not stop within
    ``cancel_grace`` seconds costs the child its life.
    """

    def __init__(
        self,
        *,
        bundles: Mapping[str, Path],
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        classifier: Classifier | None = None,
        expansion_seconds: float = 60.0,
        parallel: Literal["guidance", "context"] = "guidance",
        tuning: Tuning | None = None,
        cancel_grace: float = 10.0,
    ) -> None:
        folders = {name: str(folder) for name, folder in bundles.items()}
        self._configure = Configure(
            bundles=folders,
            device=device,
            dtype=dtype,
            threads=threads,
            classifier=classifier,
            expansion_seconds=expansion_seconds,
            parallel=parallel,
            tuning=tuning or Tuning(),
        )
        self._cancel_grace = cancel_grace
        self._models: tuple[Model, ...] | None = None  # as the first child told: bundles do not change while we run
        self._engine: EngineProcess | None = None
        self._starts: dict[str, asyncio.Task[EngineProcess]] = {}
        self._starting, self._turn = asyncio.Lock(), asyncio.Lock()
        self._backoff = Backoff()
        self._closed = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the child that is running now."""
        return self._engine.pid if self._engine and not self._engine.ended.is_set() else None

    async def capabilities(self) -> Capabilities:
        if not self._configure.bundles:
            raise ConfigurationError("The process executor needs at least one model bundle.")
        if self._models is None:
            self._models = await (await self._fit_engine()).models()
        return Capabilities(slots=1, models=self._models)

    async def run(self, work: Work) -> AsyncIterator[Event]:
        async with self._turn:
            try:
                engine = await self._engine_for(work.id)
            except StillmotionError as error:
                yield Failed(kind=error.kind, message=error.message, fatal=isinstance(error, EngineLost))
                return
            if engine is None:
                yield Cancelled()
                return
            events = await engine.submit(work)
            event: Event | None = None
            try:
                while event is None or isinstance(event, Log | Progress):
                    event = await events.get()
                    yield event
            finally:
                if event is None or isinstance(event, Log | Progress):
                    await self._abandon(engine, work.id, events)
                elif not (isinstance(event, Failed) and event.fatal):
                    self._backoff.proved_fit()
                if not isinstance(event, Done):  # a child that was killed could not clear up after itself
                    await asyncio.to_thread(Path(work.output).unlink, missing_ok=True)

    async def cancel(self, work_id: str) -> None:
        if start := self._starts.get(work_id):
            start.cancel()
        elif self._engine is not None:
            await self._engine.cancel(work_id, self._cancel_grace)

    async def unload(self) -> None:
        async with self._turn, self._starting:
            if self._engine is not None:
                await self._engine.stop()
                self._engine = None

    async def close(self) -> None:
        self._closed.set()
        async with self._starting:
            if self._engine is not None:
                await self._engine.stop()

    async def _engine_for(self, work_id: str) -> EngineProcess | None:
        """A fit engine; None when the work was cancelled while it waited for one."""
        start = self._starts[work_id] = asyncio.create_task(self._fit_engine())
        try:
            await asyncio.wait([start])
            return None if start.cancelled() else start.result()
        finally:
            start.cancel()
            del self._starts[work_id]

    async def _fit_engine(self) -> EngineProcess:
        """The running child, or a new one, that has told its models. Raises what ``EngineProcess.models`` raises."""
        async with self._starting:
            if self._engine is not None and not self._engine.fit:
                await self._engine.stop()
                await self._pause(self._backoff.died())
                self._engine = None
            if self._closed.is_set():
                raise EngineLost("The engine was shut down.")
            if self._engine is None:
                # A start that is cancelled half-way would leave a process that nobody owns.
                await asyncio.shield(self._start())
        assert self._engine is not None
        await self._engine.models()
        return self._engine

    async def _start(self) -> None:
        self._engine = await EngineProcess.start(self._configure)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)

    async def _abandon(self, engine: EngineProcess, work_id: str, events: asyncio.Queue[Event]) -> None:
        """Nobody listens any more: the work is cancelled, and the child is free again when this returns."""
        await engine.cancel(work_id, self._cancel_grace)
        while isinstance(await events.get(), Log | Progress):
            pass
