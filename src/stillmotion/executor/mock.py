"""The executor without a model: a real video file with sound, made of the input picture, in no time."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from stillmotion.errors import EngineLost
from stillmotion.executor.base import Capabilities
from stillmotion.executor.export import Interrupted, export_video
from stillmotion.executor.failures import failed
from stillmotion.executor.inspection import NO_CHECKER
from stillmotion.executor.previews import Previews
from stillmotion.executor.scene import SAMPLE_RATE, Sketch, moving_crop, tone
from stillmotion.job import Cancelled, Done, Event, Failed, Log, Model, Progress, Stage, Work

Emit = Callable[[Event], None]


class MockExecutor:
    """Executes works on threads of its own, ``slots`` at once, each in at least ``seconds`` of wall time.

    Everything above the executor meets what a real engine gives: logs, one Progress per denoising step, a file of
    exactly the promised size, frames, rate and sound that depends on picture and seed, and cancellation between steps.
    Only the write mode is always the fast one: six seconds of 1080p take 2.5 s to encode on two cores, else 6.
    """

    def __init__(self, *, slots: int = 4, seconds: float = 0.5, model: str = "mock") -> None:
        self._capabilities = Capabilities(slots=slots, models=(Model(name=model, family="ltx-2", demonstration=True),))
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="mock-engine")
        self._stops: dict[str, threading.Event] = {}
        self._closed = False

    async def capabilities(self) -> Capabilities:
        return self._capabilities

    async def run(self, work: Work) -> AsyncIterator[Event]:
        if self._closed:
            yield _closed()
            return
        loop, events, stop = asyncio.get_running_loop(), asyncio.Queue[Event](), threading.Event()
        self._stops[work.id] = stop

        def emit(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        thread = self._threads.submit(lambda: emit(self._perform(work, emit, stop)))
        try:
            event: Event = await events.get()
            while isinstance(event, Log | Progress):
                yield event
                event = await events.get()
            yield event
        finally:
            stop.set()
            del self._stops[work.id]
            # The file is not touched any more once the iterator has ended.
            await asyncio.shield(asyncio.wrap_future(thread))

    async def cancel(self, work_id: str) -> None:
        if stop := self._stops.get(work_id):
            stop.set()

    async def unload(self) -> None:
        pass  # it holds nothing

    async def close(self) -> None:
        self._closed = True
        for stop in self._stops.values():
            stop.set()
        await asyncio.to_thread(self._threads.shutdown)

    def _perform(self, work: Work, emit: Emit, stop: threading.Event) -> Event:
        began = time.perf_counter()
        try:
            emit(Log(message=f"mock engine, seed {work.job.seed}: a moving crop of the picture, not a generated video"))
            if work.job.check_safety:
                emit(Log(message=NO_CHECKER, level="WARN"))
            self._steps(work, emit, stop)
            denoised = time.perf_counter()
            sound = tone(work.job) if work.job.audio else None
            quick = replace(work, encoding=replace(work.encoding, write_mode="fast"))
            media, encoding = export_video(quick, moving_crop(work), sound, SAMPLE_RATE, should_stop=stop.is_set)
        except Interrupted:
            return _closed() if self._closed else Cancelled()
        except Exception as error:
            return failed(error)
        seconds = {"denoise": denoised - began, "encode": encoding, "total": time.perf_counter() - began}
        emit(Log(message=f"mock engine finished in {seconds['total']:.2f} s"))
        return Done(media=media, seconds=seconds)

    def _steps(self, work: Work, emit: Emit, stop: threading.Event) -> None:
        stages = work.job.stages
        total = sum(stage.steps for stage in stages)
        sketch = Sketch(work)
        previews = None if work.preview is None else Previews(work.preview, lambda text: emit(Log(message=text)))
        for done, (index, step) in enumerate(_numbered(stages), start=1):
            if stop.wait(self._seconds / total):
                raise Interrupted
            if previews is not None:
                previews.offer(partial(sketch.at, done / total))
            newest = previews.newest() if previews else None
            emit(Progress(stage=index, stages=len(stages), step=step, total=stages[index].steps, preview=newest))


def _numbered(stages: Sequence[Stage]) -> Iterator[tuple[int, int]]:
    """The number of the stage, from 0, and of the step, from 1, of each step."""
    return ((index, step) for index, stage in enumerate(stages) for step in range(1, stage.steps + 1))


def _closed() -> Failed:
    return Failed(kind=EngineLost.kind, message="The engine was shut down.", fatal=True)
