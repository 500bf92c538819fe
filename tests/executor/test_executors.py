"""What every executor promises, tried on each: one suite, so that the mock stays an honest stand-in."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from stillmotion.executor.base import Executor
from stillmotion.job import Cancelled, Done, Event, Failed, Keyframe, Log, Progress, Work
from stillmotion.media.probe import probe_media, read_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

MakeWork = Callable[..., Work]


def frames(path: str) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([_planes(frame) for frame in container.decode(video=0)])


def _planes(frame: av.VideoFrame) -> np.ndarray:
    return frame.reformat(format="yuv420p").to_ndarray()


def exists(work: Work) -> bool:
    return Path(work.output).exists()


def loudness(path: str) -> float:
    with av.open(path) as container:
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    return float(np.sqrt((samples**2).mean()))


def content(work: Work) -> bytes:
    return Path(work.output).read_bytes()


async def test_capabilities(executor: Executor) -> None:
    told = await executor.capabilities()
    assert told.slots >= 1
    assert [model.name for model in told.models] == ["small"]
    assert told.models[0].demonstration


@pytest.mark.parametrize(
    ("width", "height", "num_frames", "fps"),
    [(96, 64, 17, 25.0), (64, 96, 9, 23.976), (70, 50, 12, 24.0), (128, 64, 25, 50.0)],
)
async def test_the_file_is_what_was_promised(
    executor: Executor, make_work: MakeWork, collect, width: int, height: int, num_frames: int, fps: float
) -> None:
    work = make_work(width=width, height=height, num_frames=num_frames, fps=fps)
    end = (await collect(executor, work))[-1]
    assert isinstance(end, Done), end
    assert end.media == probe_media(work.output)
    media = end.media
    assert (media.width, media.height, media.num_frames, media.has_audio) == (width, height, num_frames, True)
    assert media.fps == pytest.approx(fps, abs=1e-4)
    assert media.duration == pytest.approx(num_frames / fps, abs=1e-4)
    assert frames(work.output).shape == (num_frames, height * 3 // 2, width)
    assert set(end.seconds) >= {"denoise", "encode", "total"}
    assert all(value >= 0 for value in end.seconds.values())


@pytest.mark.parametrize(
    ("container", "content_type", "frames_of_60", "sounds"),
    [
        ("mp4", "video/mp4", 12, True),
        ("webm", "video/webm", 12, True),
        ("mov", "video/quicktime", 12, True),
        ("gif", "image/gif", 10, False),  # 50 a second are the most
    ],
)
async def test_every_container_is_made(
    executor: Executor,
    make_work: MakeWork,
    collect,
    container: str,
    content_type: str,
    frames_of_60: int,
    sounds: bool,
) -> None:
    made_of = '{"prompt": "a picture \\u2764 that moves 😀"}'
    work = make_work(container=container, num_frames=12, fps=60.0, settings=made_of)
    end = (await collect(executor, work))[-1]
    assert isinstance(end, Done), end
    assert end.media == probe_media(work.output)
    media = end.media
    assert (media.width, media.height, media.num_frames) == (96, 64, frames_of_60)
    assert (media.content_type, media.has_audio) == (content_type, sounds)
    assert media.duration == pytest.approx(0.2)
    assert len(frames(work.output)) == frames_of_60
    assert read_settings(work.output) == made_of


async def test_sound_is_heard_where_it_is_wanted(executor: Executor, make_work: MakeWork, collect) -> None:
    work = make_work(audio=True)
    await collect(executor, work)
    assert loudness(work.output) > 1e-3


async def test_there_is_no_sound_track_where_none_is_wanted(executor: Executor, make_work: MakeWork, collect) -> None:
    work = make_work(audio=False)
    end = (await collect(executor, work))[-1]
    assert not end.media.has_audio
    with av.open(work.output) as container:
        assert not container.streams.audio


async def test_the_seed_decides(executor: Executor, make_work: MakeWork, collect) -> None:
    outputs = []
    for id, seed in (("one", 7), ("again", 7), ("other", 8)):
        work = make_work(id=id, seed=seed)
        assert isinstance((await collect(executor, work))[-1], Done)
        outputs.append(content(work))
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]
    assert not np.array_equal(frames(make_work(id="one").output), frames(make_work(id="other").output))


async def test_the_picture_decides(executor: Executor, make_work: MakeWork, collect, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.new("RGB", (96, 64), (200, 30, 30)).save(tmp_path / "red.png")
    plain = make_work(id="plain")
    red = make_work(id="red", images={"image_url": str(tmp_path / "red.png")})
    for work in (plain, red):
        assert isinstance((await collect(executor, work))[-1], Done)
    assert not np.array_equal(frames(plain.output), frames(red.output))


async def test_progress_counts_every_step_once(executor: Executor, make_work: MakeWork, collect) -> None:
    events = await collect(executor, make_work(steps=5))
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress == [Progress(stage=0, stages=1, step=step, total=5) for step in range(1, 6)]
    assert isinstance(events[0], Log)
    assert "engine" in events[0].message
    assert "seed 1" in events[0].message


async def test_cancel_ends_the_work_and_frees_the_engine(executor: Executor, make_work: MakeWork, collect) -> None:
    work = make_work(steps=400)

    async def cancel(event: Event) -> None:
        if isinstance(event, Progress):
            await executor.cancel(work.id)

    events = await collect(executor, work, cancel)
    assert events[-1] == Cancelled()
    assert sum(isinstance(event, Progress) for event in events) < 400
    assert not exists(work)
    assert isinstance((await collect(executor, make_work()))[-1], Done)


async def test_who_stops_listening_has_cancelled(executor: Executor, make_work: MakeWork, collect) -> None:
    work = make_work(id="left", steps=400)
    async with contextlib.aclosing(executor.run(work)) as run:
        async for event in run:
            if isinstance(event, Progress):
                break
    assert not exists(work)
    assert isinstance((await collect(executor, make_work()))[-1], Done)


async def test_cancelling_the_unknown_does_nothing(executor: Executor, make_work: MakeWork, collect) -> None:
    await executor.cancel("never heard of")
    work = make_work()
    await collect(executor, work)
    await executor.cancel(work.id)
    assert isinstance((await collect(executor, make_work()))[-1], Done)


async def test_a_job_at_fault_fails_alone(executor: Executor, make_work: MakeWork, collect, tmp_path: Path) -> None:
    work = make_work(images={"image_url": str(tmp_path / "absent.png")})
    end = (await collect(executor, work))[-1]
    assert isinstance(end, Failed)
    assert (end.kind, end.fatal) == ("engine_error", False)
    assert "Traceback" not in end.message
    assert not exists(work)
    assert isinstance((await collect(executor, make_work()))[-1], Done)


async def test_an_output_that_cannot_be_written_fails(
    executor: Executor, make_work: MakeWork, collect, tmp_path: Path
) -> None:
    work = replace(make_work(), output=str(tmp_path / "no such folder" / "v.mp4"))
    end = (await collect(executor, work))[-1]
    assert isinstance(end, Failed)
    assert (end.kind, end.fatal) == ("engine_error", False)
    assert "No such file" in end.message
    assert str(tmp_path) not in end.message
    assert isinstance((await collect(executor, make_work()))[-1], Done)


async def test_works_do_not_leak_into_each_other(executor: Executor, make_work: MakeWork, collect) -> None:
    """A work between two equal ones, of another size and without a picture's full strength, changes nothing."""
    first, between, second = make_work(id="first"), make_work(id="between", width=64, height=64), make_work(id="second")
    weak = replace(between.job, keyframes=(Keyframe(image="image_url", frame=0, strength=0.4),))
    for work in (first, replace(between, job=weak), second):
        assert isinstance((await collect(executor, work))[-1], Done)
    assert content(first) == content(second)
