"""Jobs of several stages, whole: what later stages take over, what they change, and what is refused."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.engine.checks import check_job
from stillmotion.engine.components import Components
from stillmotion.engine.engine import Engine, Generation
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.sampler import Stopped
from stillmotion.engine.tiling import Limits
from stillmotion.errors import BundleError, EngineError, InputError, OutOfMemory
from stillmotion.job import Family, Guidance, Job, Keyframe, Lora, Model, Progress, Stage

MakeJob = Callable[..., Job]
Picture = npt.NDArray[np.uint8]

FIRST = Stage(width=64, height=64, num_frames=9, fps=24.0, steps=2, video=Guidance(cfg=3), audio=Guidance(cfg=7))
SECOND = Stage(
    width=128, height=128, num_frames=9, fps=24.0, steps=3, schedule="distilled", start="spatial_x2", video=Guidance()
)
DOUBLED = dataclasses.replace(SECOND, width=64, height=64, num_frames=17, fps=48.0, start="temporal_x2")
START, END = Keyframe(image="image_url", frame=0), Keyframe(image="end_image_url", frame=8)
DISTILLED = Lora(name="distilled", scale=0.5, bundled=True)


@pytest.fixture
def newer(engines: Mapping[Family, Engine]) -> Engine:
    return engines["ltx-2.3"]


@pytest.fixture
def two_stages(make_job: MakeJob) -> MakeJob:
    """``make_job`` for 128x128 in two stages; fields of the second stage may be given as ``second``."""

    def make(second: Mapping[str, Any] = {}, **fields: Any) -> Job:
        stages = (FIRST, dataclasses.replace(SECOND, **second))
        return make_job(**{"width": 128, "height": 128, "stages": stages} | fields)

    return make


def generate(engine: Engine, job: Job, picture: Picture, **options: Any) -> Generation:
    images = {"image_url": picture, "end_image_url": np.ascontiguousarray(picture[::-1, ::-1])}
    given = {"on_progress": lambda progress: None, "should_stop": lambda: False} | options
    return engine.generate(job, images, **given)


def frames_of(generation: Generation) -> Picture:
    return np.concatenate(list(generation.frames))


def sound_of(generation: Generation) -> npt.NDArray[np.float32]:
    assert generation.audio is not None
    return generation.audio


def test_frames_sound_progress_and_times(engine: Engine, two_stages: MakeJob, picture: Picture) -> None:
    seen: list[Progress] = []
    generation = generate(engine, two_stages(), picture, on_progress=seen.append)
    assert seen == [
        *(Progress(stage=0, stages=2, step=step, total=2) for step in (1, 2)),
        *(Progress(stage=1, stages=2, step=step, total=3) for step in (1, 2, 3)),
    ]
    frames = frames_of(generation)
    assert frames.shape == (9, 192, 128)
    assert frames[:, :128].std() > 5
    seconds = generation.seconds
    parts = {"loras", "text", "image", "upsample", "denoise", "stage 1", "stage 2", "decode"}
    assert set(seconds) == parts
    assert all(value > 0 for value in seconds.values())
    assert seconds["denoise"] == pytest.approx(seconds["stage 1"] + seconds["stage 2"], rel=0.01)


def test_the_sound_is_that_of_the_first_stage_alone(
    engine: Engine, two_stages: MakeJob, make_job: MakeJob, picture: Picture
) -> None:
    alone = generate(engine, make_job(stages=(FIRST,)), picture)
    both = generate(engine, two_stages(), picture)
    assert np.array_equal(sound_of(alone), sound_of(both))
    assert not np.array_equal(frames_of(generate(engine, two_stages(seed=8), picture)), frames_of(both))


def test_the_same_job_gives_the_same_bytes(engine: Engine, two_stages: MakeJob, picture: Picture) -> None:
    job = two_stages({"loras": (DISTILLED,)}, keyframes=(START, END))
    first, second = generate(engine, job, picture), generate(engine, job, picture)
    assert np.array_equal(frames_of(first), frames_of(second))
    assert np.array_equal(sound_of(first), sound_of(second))


def test_three_stages(engine: Engine, two_stages: MakeJob, picture: Picture) -> None:
    third = dataclasses.replace(SECOND, num_frames=17, fps=48.0, start="temporal_x2")
    job = two_stages(num_frames=17, fps=48.0, stages=(FIRST, SECOND, third), keyframes=(START,))
    seen: list[Progress] = []
    generation = generate(engine, job, picture, on_progress=seen.append)
    assert frames_of(generation).shape == (17, 192, 128)
    assert [progress.stage for progress in seen] == [0] * 2 + [1] * 3 + [2] * 3
    assert {"stage 1", "stage 2", "stage 3", "upsample"} < set(generation.seconds)
    assert sound_of(generation).shape == (2, round(17 / 48 * generation.sample_rate))


@pytest.mark.parametrize(
    "second",
    [
        {"steps": 2},
        {"loras": (DISTILLED,)},
        {"loras": (Lora(name="jib_up", bundled=True),)},
        {"video": Guidance(cfg=3)},
        {"restart": True},
        {"gradient_gamma": 2.0},
    ],
    ids=str,
)
def test_every_field_of_a_later_stage_counts(
    newer: Engine, two_stages: MakeJob, picture: Picture, second: dict[str, Any]
) -> None:
    plain, changed = generate(newer, two_stages(), picture), generate(newer, two_stages(second), picture)
    assert not np.array_equal(frames_of(plain), frames_of(changed))
    assert np.array_equal(sound_of(plain), sound_of(changed))


@pytest.mark.parametrize(
    "second",
    [
        {"gradient_gamma": 1.0},
        {"loras": (dataclasses.replace(DISTILLED, scale=0.0),)},
        {"loras": (DISTILLED, dataclasses.replace(DISTILLED, scale=-0.5))},
        {"video": Guidance(cfg=1, stg=0, modality=1, rescale=0)},
    ],
    ids=str,
)
def test_neutral_values_change_no_byte(
    engine: Engine, two_stages: MakeJob, picture: Picture, second: dict[str, Any]
) -> None:
    plain, same = generate(engine, two_stages(), picture), generate(engine, two_stages(second), picture)
    assert np.array_equal(frames_of(plain), frames_of(same))


def test_loras_are_of_their_stage_alone(engine: Engine, two_stages: MakeJob, picture: Picture) -> None:
    """One on the second stage leaves the sound, one on the first changes it, none is left on for the next job."""
    before = generate(engine, two_stages(), picture)
    first = dataclasses.replace(FIRST, loras=(DISTILLED,))
    on_first, on_second = two_stages(stages=(first, SECOND)), two_stages({"loras": (DISTILLED,)})
    assert not np.array_equal(sound_of(generate(engine, on_first, picture)), sound_of(before))
    assert np.array_equal(sound_of(generate(engine, on_second, picture)), sound_of(before))
    assert np.array_equal(frames_of(generate(engine, two_stages(), picture)), frames_of(before))


def test_a_lora_of_the_job_is_its_file(
    engine: Engine, two_stages: MakeJob, picture: Picture, bundles: Mapping[Family, Path], tmp_path: Path
) -> None:
    """The bundled one and a copy of it that came with the job are the same; both are told."""
    own = tmp_path / "mine.safetensors"
    shutil.copy(bundles[engine.manifest.family] / engine.manifest.loras["dolly_left"], own)
    told: list[str] = []
    bundled = generate(
        engine, two_stages({"loras": (Lora(name="dolly_left", bundled=True),)}), picture, on_log=told.append
    )
    brought = generate(engine, two_stages({"loras": (Lora(name="0"),)}), picture, loras={"0": own}, on_log=told.append)
    assert np.array_equal(frames_of(bundled), frames_of(brought))
    mine = [line for line in told if line.startswith("stage 2 of 2: ")]
    assert len(mine) == 2
    assert "lora-dolly_left.safetensors x 1: 30 layers" in mine[0]
    assert "mine.safetensors x 1: 30 layers" in mine[1]


def test_a_lora_that_does_not_fit_is_told_before_anything_is_computed(
    newer: Engine, two_stages: MakeJob, picture: Picture, tmp_path: Path
) -> None:
    wrong, seen = tmp_path / "wrong.safetensors", list[Progress]()
    wrong.write_bytes(b"not safetensors")
    job = two_stages({"loras": (Lora(name="0"),)})
    with pytest.raises(InputError, match=r"wrong\.safetensors") as caught:
        generate(newer, job, picture, loras={"0": wrong}, on_progress=seen.append)
    assert caught.value.loc == ("body", "0")
    assert seen == []


def test_a_bundled_lora_that_does_not_fit_is_the_bundles_fault(
    bundles: Mapping[Family, Path], loaded: Mapping[Family, Components], two_stages: MakeJob, picture: Picture
) -> None:
    """The distilled LoRA of the other family: the user did not choose it."""
    manifest = load_manifest(bundles["ltx-2"])
    other = os.path.relpath(bundles["ltx-2.3"] / manifest.loras["distilled"], bundles["ltx-2"])
    engine = Engine(bundles["ltx-2"], dataclasses.replace(manifest, loras={"distilled": str(other)}), loaded["ltx-2"])
    with pytest.raises(BundleError, match=r"lora-distilled\.safetensors fits"):
        generate(engine, two_stages({"loras": (DISTILLED,)}), picture)


@pytest.mark.parametrize("stop_after", [0, 2, 3, 4])
def test_stops_between_two_steps_of_any_stage(
    newer: Engine, two_stages: MakeJob, picture: Picture, stop_after: int
) -> None:
    seen: list[Progress] = []
    with pytest.raises(Stopped):
        generate(
            newer,
            two_stages(),
            picture,
            on_progress=seen.append,
            should_stop=lambda: len(seen) == stop_after,
        )
    assert len(seen) == stop_after


@pytest.mark.parametrize("stages", [(FIRST, DOUBLED), (dataclasses.replace(FIRST, num_frames=17, fps=48.0),)])
def test_48_frames_a_second_are_48_different_pictures(
    engine: Engine, make_job: MakeJob, picture: Picture, stages: tuple[Stage, ...]
) -> None:
    """From half the rate by the temporal upsampler, or computed at that rate from the start."""
    job = make_job(num_frames=16, fps=48.0, stages=stages, keyframes=(START, dataclasses.replace(END, frame=15)))
    generation = generate(engine, job, picture)
    frames = frames_of(generation)
    assert frames.shape == (16, 96, 64)
    assert np.abs(np.diff(frames[:, :64].astype(float), axis=0)).mean(axis=(1, 2)).min() > 1
    sound = sound_of(generation)
    assert sound.shape == (2, round(16 / 48 * generation.sample_rate))
    # Not padded: an audio latent short would leave 40 ms of silence at the end.
    assert np.abs(sound[:, -generation.sample_rate // 100 :]).max() > 0


def test_without_sound_the_pictures_are_the_same(newer: Engine, two_stages: MakeJob, picture: Picture) -> None:
    silent = generate(newer, two_stages(audio=False), picture)
    assert silent.audio is None
    assert np.array_equal(frames_of(silent), frames_of(generate(newer, two_stages(), picture)))


@pytest.fixture
def with_limits(bundles: Mapping[Family, Path]) -> Callable[[Limits], Engine]:
    return lambda limits: Engine.load(bundles["ltx-2"], device="cpu", limits=limits)


def test_only_a_stage_above_the_limit_is_tiled(
    engines: Mapping[Family, Engine],
    with_limits: Callable[[Limits], Engine],
    two_stages: MakeJob,
    picture: Picture,
) -> None:
    """Of 10 x 4 cells, two latent frames and a keyframe's tokens."""
    big = {"width": 320, "height": 128}
    stages = (dataclasses.replace(FIRST, width=160), dataclasses.replace(SECOND, **big))
    job = two_stages(**big, stages=stages, keyframes=(START, END))
    plain = generate(engines["ltx-2"], job, picture)
    whole = generate(with_limits(Limits(denoised_tokens=3 * 40)), job, picture)
    tiled = generate(with_limits(Limits(denoised_tokens=3 * 40 - 1)), job, picture)
    frames = frames_of(plain)
    assert np.array_equal(frames, frames_of(whole))
    assert np.array_equal(sound_of(plain), sound_of(tiled))
    change = np.abs(frames.astype(int) - frames_of(tiled))
    assert 0 < change.mean() < 20
    # A first stage is never tiled, however small the limit.
    one = dataclasses.replace(job, stages=(dataclasses.replace(stages[0], **big),))
    frames = frames_of(generate(engines["ltx-2"], one, picture))
    assert np.array_equal(frames, frames_of(generate(with_limits(Limits(denoised_tokens=1)), one, picture)))
    with pytest.raises(EngineError, match="1 tokens of 3 latent frames: no tiles of at most 0 cells"):
        generate(with_limits(Limits(denoised_tokens=1)), job, picture)


def test_decoding_above_the_limit_is_tiled(
    engines: Mapping[Family, Engine], with_limits: Callable[[Limits], Engine], make_job: MakeJob, picture: Picture
) -> None:
    job = make_job(width=320, height=64)
    frames = frames_of(generate(engines["ltx-2"], job, picture))
    assert np.array_equal(frames, frames_of(generate(with_limits(Limits(decoded_cells=20)), job, picture)))
    tiled = frames_of(generate(with_limits(Limits(decoded_cells=19)), job, picture))
    assert 0 < np.abs(frames.astype(int) - tiled).mean() < 20


def test_running_out_of_memory_names_the_stage(newer: Engine, two_stages: MakeJob, picture: Picture) -> None:
    # The first stage is small enough; the second has 2^24 times its tokens.
    wide = {"width": 2**30, "height": 2**30}
    first = dataclasses.replace(FIRST, width=2**29, height=2**29)
    with pytest.raises(OutOfMemory, match=r"for stage 1 of 2, 536870912x536870912 and 9 frames: \d+\.\d\d GiB more"):
        generate(newer, two_stages(wide, stages=(first, dataclasses.replace(SECOND, **wide)), keyframes=()), picture)


def stage(**change: Any) -> Stage:
    return dataclasses.replace(SECOND, **change)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((FIRST, FIRST), "stage 2 of 2: only the first stage starts from noise"),
        ((SECOND,), r"no stage before it to start from \(spatial_x2\)"),
        ((SECOND, SECOND), r"stage 1 of 2: it has no stage before it to start from \(spatial_x2\)"),
        ((FIRST, stage(width=120)), "stage 2 of 2: 120x128 is not on the grid of 32 pixels"),
        ((FIRST, stage(num_frames=10)), "stage 2 of 2: 10 frames are not one more than a multiple of 8"),
        (
            (FIRST, stage(width=64)),
            "stage 2 of 2: spatial_x2 of 64x64, 9 frames at 24 fps is 128x128, 9 frames at 24 fps, not 64x128, 9 fr",
        ),
        ((FIRST, stage(height=192)), "not 128x192, 9 frames"),
        ((FIRST, stage(num_frames=17)), "is 128x128, 9 frames at 24 fps, not 128x128, 17 frames at 24 fps"),
        ((FIRST, stage(fps=25.0)), "not 128x128, 9 frames at 25 fps"),
        (
            (FIRST, dataclasses.replace(DOUBLED, num_frames=25)),
            "temporal_x2 of 64x64, 9 frames at 24 fps is 64x64, 17 frames at 48 fps, not 64x64, 25 frames at 48 fps",
        ),
        ((FIRST, dataclasses.replace(DOUBLED, fps=24.0)), "not 64x64, 17 frames at 24 fps"),
        ((FIRST, dataclasses.replace(DOUBLED, width=128)), "not 128x64, 17 frames at 48 fps"),
        ((FIRST, stage(steps=8)), "stage 2 of 2: 8 steps of the distilled schedule begin from noise; nothing of"),
        ((FIRST, stage(schedule="ltx2")), "stage 2 of 2: 3 steps of the ltx2 schedule begin from noise"),
        ((dataclasses.replace(FIRST, schedule="distilled"), SECOND), "stage 1 of 2: 2 steps .* cannot begin one"),
        ((FIRST, stage(steps=9)), "stage 2 of 2: the distilled schedule has 8 steps, not 9"),
        ((FIRST, stage(loras=(Lora(name="static", bundled=True),))), "has no LoRA 'static', only distilled, dolly_l"),
        ((FIRST, stage(loras=(Lora(name="a style"),))), "no file came with the job for the LoRA 'a style'"),
    ],
)
def test_a_wrong_list_of_stages_is_refused(
    newer: Engine, make_job: MakeJob, picture: Picture, stages: tuple[Stage, ...], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        generate(newer, make_job(width=128, height=128, stages=stages), picture)


MODEL = Model(name="bare", family="ltx-2", upsamplers=("temporal_x2",))


def test_an_upsampler_that_the_bundle_lacks_is_named(make_job: MakeJob) -> None:
    check_job(make_job(stages=(FIRST, DOUBLED)), MODEL)
    with pytest.raises(EngineError, match="stage 2 of 2: bare has no spatial_x2 upsampler"):
        check_job(make_job(stages=(FIRST, SECOND)), MODEL)


@given(
    cells=st.tuples(st.integers(1, 20), st.integers(1, 12)),
    latents=st.integers(1, 30),
    fps=st.floats(1, 60),
    doublings=st.lists(st.sampled_from(["spatial_x2", "temporal_x2"]), max_size=4),
)
def test_every_ladder_of_doublings_is_accepted(
    make_job: MakeJob, cells: tuple[int, int], latents: int, fps: float, doublings: list[Any]
) -> None:
    """Worked out from the last stage down, as a plan does: rates are halved, and doubled again by the check."""
    width, height, frames = 32 * cells[0], 32 * cells[1], 8 * (latents - 1) + 1
    for doubling in doublings:
        width, height = (2 * width, 2 * height) if doubling == "spatial_x2" else (width, height)
        frames = 2 * frames - 1 if doubling == "temporal_x2" else frames
    stages: list[Stage] = []
    for doubling in reversed(doublings):
        stages.insert(0, stage(width=width, height=height, num_frames=frames, fps=fps, start=doubling))
        if doubling == "spatial_x2":
            width, height = width // 2, height // 2
        else:
            frames, fps = (frames - 1) // 2 + 1, fps / 2
    first = dataclasses.replace(FIRST, width=width, height=height, num_frames=frames, fps=fps)
    both = dataclasses.replace(MODEL, upsamplers=("spatial_x2", "temporal_x2"))
    check_job(make_job(stages=(first, *stages)), both)
