"""Preview pictures of both executors: there for whoever asks, and without any effect on what is made."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from stillmotion.executor.base import Executor
from stillmotion.job import Done, Log, Preview, Progress, Work
from stillmotion.media.preview import MAX_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

MakeWork = Callable[..., Work]


def content(work: Work) -> bytes:
    return Path(work.output).read_bytes()


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    assert image.format == "JPEG"
    return image


async def test_whoever_asks_gets_pictures_and_the_same_video(
    executor: Executor, make_work: MakeWork, collect, tmp_path: Path
) -> None:
    plain = make_work(id="plain", steps=4)
    path = tmp_path / "preview.jpg"
    watched = replace(make_work(id="watched", steps=4), preview=Preview(path=str(path), seconds=0))
    seen: list[tuple[str, bytes]] = []

    def look(event: object) -> None:
        if isinstance(event, Progress) and event.preview is not None:
            seen.append((event.preview, Path(event.preview).read_bytes()))

    assert isinstance((await collect(executor, plain))[-1], Done)
    assert not path.exists()
    events = await collect(executor, watched, look)
    assert isinstance(events[-1], Done)
    assert seen  # the first step is always due
    for name, picture in seen:
        assert name == str(path)
        assert opened(picture).size == (96, 64)
        assert len(picture) <= MAX_BYTES
    assert content(plain) == content(watched)
    without = [replace(event, preview=None) for event in events if isinstance(event, Progress)]
    assert without == [Progress(stage=0, stages=1, step=step, total=4) for step in range(1, 5)]


async def test_none_before_the_seconds_are_over(executor: Executor, make_work: MakeWork, collect, tmp_path) -> None:
    path = tmp_path / "preview.jpg"
    work = replace(make_work(steps=4), preview=Preview(path=str(path), seconds=600))
    assert isinstance((await collect(executor, work))[-1], Done)
    assert not path.exists()


async def test_pictures_that_cannot_be_written_are_not_the_works_fault(
    executor: Executor, make_work: MakeWork, collect, tmp_path: Path
) -> None:
    work = replace(make_work(steps=4), preview=Preview(path=str(tmp_path / "absent" / "preview.jpg"), seconds=0))
    events = await collect(executor, work)
    assert isinstance(events[-1], Done)
    told = [event.message for event in events if isinstance(event, Log) and "preview" in event.message]
    assert [line for line in told if line.startswith("no more preview pictures: FileNotFoundError")] != []
    assert sum("no more" in line for line in told) == 1
    assert all(event.preview is None for event in events if isinstance(event, Progress))
