"""Whole generations, on both families."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stillmotion.engine.engine import Engine, Generation
from stillmotion.engine.sampler import Stopped
from stillmotion.errors import EngineError, OutOfMemory
from stillmotion.job import Family, Guidance, Job, Keyframe, Progress, Stage

MakeJob = Callable[..., Job]
Picture = npt.NDArray[np.uint8]


START, END = Keyframe(image="image_url", frame=0), Keyframe(image="end_image_url", frame=8)


def generate(engine: Engine, job: Job, picture: Picture) -> Generation:
    images = {"image_url": picture, "end_image_url": np.ascontiguousarray(picture[::-1, ::-1])}
    return engine.generate(job, images, on_progress=lambda progress: None, should_stop=lambda: False)


def frames_of(generation: Generation) -> Picture:
    return np.concatenate(list(generation.frames))


def test_frames_sound_progress_and_times(engine: Engine, make_job: MakeJob, picture: Picture) -> None:
    seen: list[Progress] = []
    job = make_job(width=96, height=64, num_frames=17, steps=3)
    generation = engine.generate(job, {"image_url": picture}, on_progress=seen.append, should_stop=lambda: False)
    assert seen == [Progress(stage=0, stages=1, step=step, total=3) for step in (1, 2, 3)]
    chunks = list(generation.frames)
    assert len(chunks) > 1
    frames = np.concatenate(chunks)
    assert frames.shape == (17, 96, 96)
    assert frames.dtype == np.uint8
    luma = frames[:, :64].astype(float)
    assert luma.std() > 5
    assert np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2)).min() > 1
    assert generation.sample_rate == (24_000 if engine.manifest.family == "ltx-2" else 48_000)
    assert generation.audio is not None
    assert generation.audio.shape == (2, round(17 / 24 * generation.sample_rate))
    assert generation.audio.std() > 0.01
    assert set(generation.seconds) == {"loras", "text", "image", "denoise", "decode"}
    assert all(seconds > 0 for seconds in generation.seconds.values())


def test_the_same_job_gives_the_same_bytes_and_leaves_the_global_random_state(
    engine: Engine, make_job: MakeJob, picture: Picture
) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = generate(engine, make_job(), picture)
    frames = frames_of(first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = generate(engine, make_job(), picture)
    assert np.array_equal(frames, frames_of(second))
    assert first.audio is not None
    assert second.audio is not None
    assert np.array_equal(first.audio, second.audio)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"prompt": "a lighthouse in fog"},
        {"negative_prompt": "loud"},
        {"video": Guidance(cfg=1)},
        {"audio_guidance": Guidance(cfg=1)},
        {"keyframes": ()},
        {"keyframes": (Keyframe(image="image_url", frame=0, strength=0.5),)},
        {"steps": 3},
        {"schedule": "linear_quadratic"},
        {"schedule": "beta"},
        {"schedule": "distilled", "steps": 8},
        {"gradient_gamma": 2.0, "steps": 3},
        {"restart": True},
        {"video": Guidance(cfg=3, stg=1)},
        {"video": Guidance(cfg=3, modality=3)},
        {"video": Guidance(cfg=3, rescale=0.7)},
        {"audio_guidance": Guidance(cfg=7, stg=1)},
        {"audio_guidance": Guidance(cfg=7, modality=3)},
        {"audio_guidance": Guidance(cfg=7, rescale=0.7)},
        {"keyframes": (START, END)},
        {"keyframes": (END,)},
    ],
    ids=str,
)
def test_every_field_of_the_job_counts(
    engines: Mapping[Family, Engine], make_job: MakeJob, picture: Picture, change: dict[str, object]
) -> None:
    engine = engines["ltx-2.3"]
    base = {"steps": change["steps"]} if len(change) > 1 else {}  # where a change shows in more steps only
    plain, changed = generate(engine, make_job(**base), picture), generate(engine, make_job(**change), picture)
    assert not np.array_equal(frames_of(plain), frames_of(changed))
    assert plain.audio is not None
    assert changed.audio is not None
    assert not np.array_equal(plain.audio, changed.audio)


@pytest.mark.parametrize(
    "neutral",
    [
        {"gradient_gamma": 1.0},
        {"video": Guidance(cfg=3, stg=0, modality=1, rescale=0)},
        {"keyframes": (START, dataclasses.replace(END, strength=0.0))},
    ],
    ids=str,
)
def test_neutral_values_change_no_byte(
    engine: Engine, make_job: MakeJob, picture: Picture, neutral: dict[str, object]
) -> None:
    plain, same = (generate(engine, make_job(**fields, steps=3), picture) for fields in ({}, neutral))
    assert np.array_equal(frames_of(plain), frames_of(same))
    assert plain.audio is not None
    assert same.audio is not None
    assert np.array_equal(plain.audio, same.audio)


def test_a_keyframe_of_no_strength_is_no_keyframe(engine: Engine, make_job: MakeJob, picture: Picture) -> None:
    without = generate(engine, make_job(keyframes=()), picture)
    none = tuple(dataclasses.replace(keyframe, strength=0.0) for keyframe in (START, END))
    assert np.array_equal(frames_of(without), frames_of(generate(engine, make_job(keyframes=none), picture)))


def test_the_place_of_an_end_image_is_that_of_the_delivered_frame(
    engines: Mapping[Family, Engine], make_job: MakeJob, picture: Picture
) -> None:
    """Of 17 frames at 48 a second the network computes 9 at 24 here: the last of either is at the same time."""
    engine = engines["ltx-2.3"]
    stage = Stage(width=64, height=64, num_frames=9, fps=24.0, steps=2)
    frames = [
        frames_of(generate(engine, make_job(num_frames=count, fps=fps, stages=(stage,), keyframes=(last,)), picture))
        for count, fps, last in (
            (17, 48.0, dataclasses.replace(END, frame=16)),
            (9, 24.0, END),
            (9, 24.0, dataclasses.replace(END, frame=7)),
        )
    ]
    assert np.array_equal(frames[0][::2], frames[1])
    assert not np.array_equal(frames[1], frames[2])


def test_every_parameter_together(engine: Engine, make_job: MakeJob, picture: Picture) -> None:
    job = make_job(
        keyframes=(dataclasses.replace(START, strength=0.7), dataclasses.replace(END, strength=0.6)),
        video=Guidance(cfg=3, stg=1, modality=3, rescale=0.85),
        audio_guidance=Guidance(cfg=7, stg=0, modality=3, rescale=0.7),
        schedule="beta",
        gradient_gamma=2.0,
        restart=True,
        steps=4,
    )
    first, second = generate(engine, job, picture), generate(engine, job, picture)
    frames = frames_of(first)
    assert np.array_equal(frames, frames_of(second))
    assert frames[:, :64].std() > 5
    assert first.audio is not None
    assert np.isfinite(first.audio).all()


def test_the_negative_prompt_is_not_read_without_guidance(engine: Engine, make_job: MakeJob, picture: Picture) -> None:
    plain = Guidance()
    jobs = [make_job(video=plain, audio_guidance=plain, negative_prompt=text) for text in ("blurry", "loud")]
    first, second = (frames_of(generate(engine, job, picture)) for job in jobs)
    assert np.array_equal(first, second)


def test_batched_passes_give_the_same_video(engine: Engine, make_job: MakeJob, picture: Picture) -> None:
    videos = []
    for mode in ("sequential", "batched"):
        generation = engine.generate(
            make_job(),
            {"image_url": picture},
            on_progress=lambda progress: None,
            should_stop=lambda: False,
            mode=mode,
        )
        videos.append(frames_of(generation).astype(int))
    assert np.abs(videos[0] - videos[1]).max() <= 1  # one level: the rounding to 8 bit


def test_without_sound_the_pictures_are_the_same(engine: Engine, make_job: MakeJob, picture: Picture) -> None:
    silent = generate(engine, make_job(audio=False), picture)
    assert silent.audio is None
    assert np.array_equal(frames_of(silent), frames_of(generate(engine, make_job(), picture)))


def test_stops_between_two_steps(engine: Engine, make_job: MakeJob, picture: Picture) -> None:
    seen: list[Progress] = []
    with pytest.raises(Stopped):
        engine.generate(
            make_job(steps=6),
            {"image_url": picture},
            on_progress=seen.append,
            should_stop=lambda: len(seen) == 2,
        )
    assert [progress.step for progress in seen] == [1, 2]


@pytest.mark.parametrize(
    ("width", "height", "num_frames", "fps", "computed_fps"),
    [
        (60, 62, 6, 24.0, 24.0),  # cut and trimmed
        (150, 130, 9, 24.0, 24.0),  # scaled up
        (64, 64, 33, 48.0, 13.0),  # resampled in time
        (2, 2, 1, 1.0, 60.0),
    ],
)
def test_delivers_exactly_what_was_promised(
    engines: Mapping[Family, Engine],
    make_job: MakeJob,
    picture: Picture,
    width: int,
    height: int,
    num_frames: int,
    fps: float,
    computed_fps: float,
) -> None:
    engine = engines["ltx-2"]
    stage = Stage(width=64, height=64, num_frames=9, fps=computed_fps, steps=2)
    job = make_job(width=width, height=height, num_frames=num_frames, fps=fps, stages=(stage,))
    generation = generate(engine, job, picture)
    assert frames_of(generation).shape == (num_frames, height * 3 // 2, width)
    assert generation.audio is not None
    assert generation.audio.shape == (2, round(num_frames / fps * generation.sample_rate))


def test_a_trimmed_video_is_the_start_of_the_whole(
    engines: Mapping[Family, Engine], make_job: MakeJob, picture: Picture
) -> None:
    engine, whole = engines["ltx-2.3"], make_job()
    trimmed = dataclasses.replace(whole, num_frames=5)
    assert np.array_equal(
        frames_of(generate(engine, trimmed, picture)), frames_of(generate(engine, whole, picture))[:5]
    )


def test_half_precision_runs_every_part(
    bundles: Mapping[Family, Path], family: Family, make_job: MakeJob, picture: Picture
) -> None:
    half = Engine.load(bundles[family], device="cpu", dtype="bfloat16")
    whole = Engine.load(bundles[family], device="cpu", dtype="float32")
    rough, exact = generate(half, make_job(), picture), generate(whole, make_job(), picture)
    difference = frames_of(rough).astype(float) - frames_of(exact)
    assert 0 < np.abs(difference).mean() < 5
    assert rough.audio is not None
    assert np.isfinite(rough.audio).all()


def test_the_text_model_writes_where_the_bundle_says_so(
    engines: Mapping[Family, Engine], bundles: Mapping[Family, Path], tmp_path: Path
) -> None:
    assert engines["ltx-2"].chat is None
    able = Path(shutil.copytree(bundles["ltx-2"], tmp_path / "able"))
    manifest = json.loads((able / "stillmotion.json").read_text())
    (able / "stillmotion.json").write_text(json.dumps(manifest | {"can_expand_prompts": True}))
    chat = Engine.load(able, device="cpu").chat
    assert chat is not None
    reply = chat.reply("Rewrite the prompt.", "a cat", seed=1, should_stop=lambda: False, max_tokens=4)
    assert not reply.complete


STAGE = Stage(width=64, height=64, num_frames=9, fps=24.0, steps=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"stages": (dataclasses.replace(STAGE, width=72),)}, "72x64 is not on the grid"),
        ({"stages": (dataclasses.replace(STAGE, num_frames=10),)}, "10 frames"),
        ({"width": 63, "stages": (STAGE,)}, "even size"),
        ({"keyframes": (Keyframe(image="image_url", frame=9),)}, "no frame 9 in a video of 9"),
        ({"keyframes": (Keyframe(image="image_url", frame=-1),)}, "no frame -1"),
        ({"keyframes": (Keyframe(image="image_url", frame=0),) * 2}, "one image"),
        ({"keyframes": (dataclasses.replace(START, strength=1.5),)}, "from 0 to 1, not 1.5"),
        ({"stages": (dataclasses.replace(STAGE, steps=1),)}, "the ltx2 schedule needs at least 2 steps, not 1"),
        ({"schedule": "distilled", "steps": 9}, "the distilled schedule has 8 steps, not 9"),
        ({"schedule": "distilled", "steps": 3}, "cannot begin one from noise"),
    ],
)
def test_what_it_cannot_do_is_refused(
    engines: Mapping[Family, Engine],
    make_job: MakeJob,
    picture: Picture,
    change: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(EngineError, match=message):
        generate(engines["ltx-2"], make_job(**change), picture)


def test_running_out_of_memory_is_told_with_numbers(
    engines: Mapping[Family, Engine], make_job: MakeJob, picture: Picture
) -> None:
    # 2^50 tokens a frame: more than the address space, so that the allocator refuses at once.
    stage = dataclasses.replace(STAGE, width=2**30, height=2**30)
    with pytest.raises(OutOfMemory, match=r"1073741824x1073741824 and 9 frames: \d+\.\d\d GiB more were needed"):
        generate(engines["ltx-2"], make_job(keyframes=(), stages=(stage,)), picture)
