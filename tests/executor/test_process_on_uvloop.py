"""The engine's process under uvloop, on which the server runs: its pipes end differently from asyncio's."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import uvloop
from PIL import Image

from stillmotion.executor.process import ProcessExecutor
from stillmotion.job import Cancelled, Failed, Work
from stillmotion.media.image import ImageInfo, ImageLimits
from stillmotion.media.sandbox import normalise


def test_death_replacement_cancel_and_close(bundle: Path, make_work: Callable[..., Work], collect) -> None:
    async def life() -> None:
        executor = ProcessExecutor(bundles={"small": bundle}, device="cpu", threads=2)
        await executor.capabilities()
        first = executor.pid
        assert first is not None

        run = asyncio.create_task(collect(executor, make_work()))
        await asyncio.sleep(0.1)
        os.kill(first, signal.SIGKILL)
        end = (await run)[-1]
        assert isinstance(end, Failed)
        assert (end.kind, end.fatal) == ("engine_lost", True)

        run = asyncio.create_task(collect(executor, make_work()))
        while executor.pid in (None, first):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        second = executor.pid
        await executor.cancel("work")
        assert await run == [Cancelled()]

        await executor.close()
        assert not psutil.pid_exists(first)
        assert not psutil.pid_exists(second)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(life(), 30))


def test_a_picture_is_read(tmp_path: Path, picture: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        info = runner.run(normalise(picture, tmp_path / "out.png", ImageLimits()))
    assert info == ImageInfo(width=200, height=150, format="PNG")
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == (200, 150)
