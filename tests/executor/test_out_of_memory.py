"""Running out of memory in a real engine process: the request fails with numbers, the next one is made."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stillmotion.errors import OutOfMemory
from stillmotion.executor.messages import Tuning
from stillmotion.executor.process import ProcessExecutor
from stillmotion.job import Done, Failed, Log, Progress, Work

pytestmark = pytest.mark.asyncio(loop_scope="module")

MakeWork = Callable[..., Work]


async def test_a_canvas_that_cannot_fit_fails_at_once_and_the_next_work_is_done(
    bundle: Path, make_work: MakeWork, collect
) -> None:
    executor = ProcessExecutor(bundles={"small": bundle}, device="cpu", threads=1)
    try:
        *before, failed = await collect(executor, make_work(id="big", width=1 << 15, height=1 << 15))
        assert isinstance(failed, Failed)
        assert (failed.kind, failed.fatal) == (OutOfMemory.kind, False)
        assert "out of memory on cpu for 32768x32768 and 17 frames: " in failed.message
        assert "GiB more were needed: decode video needs at least" in failed.message
        assert "What would help: fewer frames or a smaller size" in failed.message
        assert not any(isinstance(event, Progress) for event in before)
        pid = executor.pid
        assert isinstance((await collect(executor, make_work(id="small")))[-1], Done)
        assert executor.pid == pid
    finally:
        await executor.close()


async def test_memory_that_runs_out_all_the_same_fails_the_work_alone(
    bundle: Path, make_work: MakeWork, collect
) -> None:
    """The process is given 300 MB more than it has: a limit that no plan knows of."""
    executor = ProcessExecutor(bundles={"small": bundle}, device="cpu", threads=1)
    try:
        assert isinstance((await collect(executor, make_work(id="first")))[-1], Done)
        pid = executor.pid
        assert pid is not None
        most = psutil.Process(pid).memory_info().vms + 300_000_000
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        failed = (await collect(executor, make_work(id="big", width=1536, height=1536, num_frames=33)))[-1]
        assert isinstance(failed, Failed)
        assert (failed.kind, failed.fatal) == (OutOfMemory.kind, False)
        assert "out of memory on cpu for 1536x1536 and 33 frames" in failed.message
        assert isinstance((await collect(executor, make_work(id="second")))[-1], Done)
        assert executor.pid == pid
    finally:
        await executor.close()


async def test_the_plan_is_told_as_the_engine_loads_and_its_options_arrive(
    bundle: Path, make_work: MakeWork, collect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tuning = Tuning(memory="streamed", device_memory_bytes=1 << 30)
    executor = ProcessExecutor(bundles={"small": bundle}, device="cpu", threads=1, tuning=tuning)
    try:
        events = await collect(executor, make_work())
        assert isinstance(events[-1], Done), events[-1]
        assert any(isinstance(event, Log) for event in events)
        assert "is streamed; " in caplog.text
        assert "1.00 GiB to use on the device" in caplog.text
    finally:
        await executor.close()
