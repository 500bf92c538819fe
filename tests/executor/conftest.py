"""Works to execute, and executors of both kinds. One engine process serves most tests: it takes seconds to start."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from stillmotion.executor.base import Executor
from stillmotion.executor.mock import MockExecutor
from stillmotion.executor.process import ProcessExecutor
from stillmotion.job import Encoding, Event, Job, Keyframe, Log, Progress, Stage, Work

MODEL = "small"


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 200x150 PNG with detail everywhere."""
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    y, x = np.mgrid[0:150, 0:200]
    Image.fromarray(np.stack([x, 255 - y, (x * y) % 256], axis=-1).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def make_work(tmp_path: Path, picture: Path) -> Callable[..., Work]:
    """``make_work(seed=2, steps=8, ...)``: a small work that writes below ``tmp_path``."""

    def make(
        *,
        id: str = "work",
        width: int = 96,
        height: int = 64,
        num_frames: int = 17,
        fps: float = 25.0,
        seed: int = 1,
        audio: bool = True,
        steps: int = 3,
        model: str = MODEL,
        images: dict[str, str] | None = None,
        container: Literal["mp4", "webm", "mov", "gif"] = "mp4",
        settings: str | None = None,
    ) -> Work:
        side = lambda pixels: -(-pixels // 32) * 32  # noqa: E731
        stage = Stage(
            width=side(width), height=side(height), num_frames=-(-(num_frames - 1) // 8) * 8 + 1, fps=fps, steps=steps
        )
        job = Job(
            model=model,
            prompt="a picture that moves",
            negative_prompt="",
            width=width,
            height=height,
            num_frames=num_frames,
            fps=fps,
            seed=seed,
            audio=audio,
            keyframes=(Keyframe(image="image_url", frame=0),),
            stages=(stage,),
        )
        return Work(
            id=id,
            job=job,
            encoding=Encoding(container=container, write_mode="fast", settings=settings),
            images={"image_url": str(picture)} if images is None else images,
            output=str(tmp_path / f"{id}.{container}"),
        )

    return make


@pytest.fixture(scope="session")
def bundle(tiny_models: Path) -> Path:
    """A model bundle of the real architecture with tiny random weights."""
    return tiny_models / "tiny-ltx-2"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["mock", "process"])
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[Executor]:
    """Each kind in turn, shared by the module's tests."""
    if request.param == "mock":
        chosen: Executor = MockExecutor(model=MODEL, seconds=0.1)
    else:
        chosen = ProcessExecutor(bundles={MODEL: request.getfixturevalue("bundle")}, device="cpu", threads=2)
    yield chosen
    await chosen.close()


async def collect(
    executor: Executor, work: Work, on_event: Callable[[Event], object] = lambda event: None
) -> list[Event]:
    """All events of ``work``, checked to be of the promised shape: the last one alone is terminal."""
    events: list[Event] = []
    async with contextlib.aclosing(executor.run(work)) as run:
        async for event in run:
            events.append(event)
            result = on_event(event)
            if hasattr(result, "__await__"):
                await result
    assert all(isinstance(event, Log | Progress) for event in events[:-1])
    assert not isinstance(events[-1], Log | Progress)
    return events


@pytest.fixture(name="collect")
def collect_fixture():
    return collect
