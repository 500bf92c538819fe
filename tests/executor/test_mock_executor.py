"""What the mock executor promises beyond every executor's promises: its speed is a setting, its memory bounded."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stillmotion.errors import EngineError
from stillmotion.executor.export import Interrupted, export_video
from stillmotion.executor.mock import MockExecutor
from stillmotion.job import Cancelled, Done, Failed, Log, Work, to_json

MakeWork = Callable[..., Work]


async def test_its_seconds_are_the_least_it_takes(make_work: MakeWork, collect) -> None:
    executor = MockExecutor(seconds=0.4, model="small")
    began = time.perf_counter()
    assert isinstance((await collect(executor, make_work()))[-1], Done)
    assert time.perf_counter() - began >= 0.4
    await executor.close()


async def test_slots_run_at_the_same_time(make_work: MakeWork, collect) -> None:
    """Each of three works waits for all three to have begun."""
    executor = MockExecutor(slots=3, seconds=0, model="small")
    together = asyncio.Barrier(3)

    async def run(id: str) -> object:
        async def first(event: object) -> None:
            if isinstance(event, Log) and "seed" in event.message:
                await together.wait()

        return (await collect(executor, make_work(id=id), first))[-1]

    async with asyncio.timeout(20):
        ends = await asyncio.gather(*(run(id) for id in "abc"))
    assert all(isinstance(end, Done) for end in ends)
    await executor.close()


async def test_cancel_does_not_wait_for_the_step(make_work: MakeWork, collect) -> None:
    executor = MockExecutor(seconds=3600, model="small")
    async with asyncio.timeout(10):
        events = await collect(executor, make_work(steps=1), lambda event: executor.cancel("work"))
    assert events[-1] == Cancelled()
    await executor.close()


async def test_close_ends_what_runs(make_work: MakeWork, collect) -> None:
    executor = MockExecutor(seconds=3600, model="small")
    run = asyncio.create_task(collect(executor, make_work()))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        await executor.close()
        end = (await run)[-1]
    assert isinstance(end, Failed)
    assert (end.kind, end.fatal) == ("engine_lost", True)
    assert (await collect(executor, make_work()))[-1] == end


async def test_a_work_without_a_picture_is_at_fault(make_work: MakeWork, collect) -> None:
    executor = MockExecutor(seconds=0, model="small")
    work = make_work(images={})
    end = (await collect(executor, work))[-1]
    assert isinstance(end, Failed)
    assert not end.fatal
    await executor.close()


def test_memory_does_not_grow_with_the_clip(make_work: MakeWork, tmp_path: Path, picture: Path) -> None:
    """415 MB of pixels through a process that, libraries included, stays far below that, as the kernel counted."""
    work = make_work(width=640, height=360, num_frames=1200, audio=True)
    program = (
        "import json, pathlib, sys\n"
        "from stillmotion.executor.export import export_video\n"
        "from stillmotion.executor.scene import SAMPLE_RATE, moving_crop, tone\n"
        "from stillmotion.job import Work, from_json\n"
        "work = from_json(Work, json.load(sys.stdin))\n"
        "export_video(work, moving_crop(work), tone(work.job), SAMPLE_RATE, should_stop=lambda: False)\n"
        "print(pathlib.Path('/proc/self/status').read_text())\n"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell a process's peak memory")
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(to_json(work)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) / 1024
    assert peak < 240


def chunks(count: int, *, height: int = 64, width: int = 96):
    for _ in range(count):
        yield np.zeros((1, height * 3 // 2, width), np.uint8)


@pytest.mark.parametrize("count", [0, 16, 18])
def test_a_file_of_the_wrong_length_is_not_delivered(make_work: MakeWork, count: int) -> None:
    work = make_work(num_frames=17, audio=False)
    with pytest.raises((EngineError, ValueError)):
        export_video(work, chunks(count), None, 24_000, should_stop=lambda: False)
    assert not Path(work.output).exists()


def test_missing_sound_is_not_delivered(make_work: MakeWork) -> None:
    work = make_work(num_frames=17, audio=True)
    with pytest.raises(EngineError, match="promised"):
        export_video(work, chunks(17), None, 24_000, should_stop=lambda: False)
    assert not Path(work.output).exists()


def test_an_error_of_the_decoder_leaves_no_file(make_work: MakeWork) -> None:
    work = make_work(num_frames=17, audio=False)

    def breaking():
        yield from chunks(5)
        raise EngineError("the decoder broke")

    with pytest.raises(EngineError, match="the decoder broke"):
        export_video(work, breaking(), None, 24_000, should_stop=lambda: False)
    assert not Path(work.output).exists()


def test_a_stop_while_encoding_leaves_no_file(make_work: MakeWork) -> None:
    work = make_work(num_frames=17, audio=False)
    answers = iter([False, False, True])
    with pytest.raises(Interrupted):
        export_video(work, chunks(17), None, 24_000, should_stop=lambda: next(answers))
    assert not Path(work.output).exists()
