"""Pictures between steps: what they show, where there is room for them, and that the video is the same with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from full_size import write_full_size_bundle
from live_memory import empty, peak_bytes
from test_memory_plan import plan, work
from test_memory_plan_activations import VERSIONS, built, close
from test_residency import load, resident, two_stages, video  # noqa: F401

from stillmotion.engine import activations, delivery
from stillmotion.engine.activations import Tokens
from stillmotion.engine.color import to_yuv420
from stillmotion.engine.engine import Engine
from stillmotion.engine.footprint import Footprint, measure_bundle
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.memory_plan import Memory
from stillmotion.engine.preview import Pixels
from stillmotion.job import Family, Job, Keyframe

MakeJob = Callable[..., Job]
END = Keyframe(image="image_url", frame=8)


class Watcher:
    """Has every picture made that it is offered, and remembers after which step."""

    def __init__(self) -> None:
        self.pictures: list[Pixels] = []
        self.seen: list[tuple[int, int]] = []
        self.told: list[str] = []

    @property
    def options(self) -> dict[str, Any]:
        return {"offer_preview": self.offer, "on_progress": self.progress, "on_log": self.told.append}

    def offer(self, make: Callable[[], Pixels]) -> None:
        self.pictures.append(make())

    def progress(self, progress: Any) -> None:
        self.seen.append((progress.stage, len(self.pictures)))


@pytest.mark.parametrize("memory", ["resident", "swapped", "streamed"])
def test_the_video_is_the_same_with_pictures_of_every_step(
    resident: Mapping[Family, Engine],  # noqa: F811
    load: Callable[..., Engine],  # noqa: F811
    family: Family,
    two_stages: Job,  # noqa: F811
    picture: npt.NDArray[np.uint8],
    memory: Memory,
) -> None:
    """Keyframes at both ends, all passes, restart noise, skipped blocks and two stages; offered at every step."""
    first = dataclasses.replace(two_stages.stages[0], restart=True, gradient_gamma=1.5, steps=4)
    job = dataclasses.replace(
        two_stages,
        stages=(first, two_stages.stages[1]),
        keyframes=(*two_stages.keyframes, END),
        acceleration="high",
    )
    expected = video(resident[family], job, picture)
    engine, watcher = resident[family] if memory == "resident" else load(memory), Watcher()
    for _ in range(2):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        assert video(engine, job, picture, **watcher.options) == expected
        assert torch.equal(torch.get_rng_state(), before)
    stages = [0] * 4 + [1] * 3
    if memory == "streamed":
        assert watcher.pictures == []
        line = "stage {} of 2: no preview pictures, the VAE has no room beside the transformer"
        assert [told for told in watcher.told if "preview" in told] == [line.format(n) for n in (1, 2)] * 2
    else:
        assert watcher.seen == list(zip(stages * 2, range(1, 15), strict=True))  # before the progress of their step
        assert {made.shape for made in watcher.pictures} == {(64, 64, 3), (128, 128, 3)}
        assert not any("preview" in told for told in watcher.told)


def test_the_vae_is_there_for_pictures_alone(
    load: Callable[..., Engine],  # noqa: F811
    two_stages: Job,  # noqa: F811
    picture: npt.NDArray[np.uint8],
) -> None:
    engine, held = load("swapped"), list[set[str]]()
    video(engine, two_stages, picture, offer_preview=lambda make: held.append(set(engine.held)))
    assert held == [{"transformer", "vae"}] * 5


def test_the_last_picture_is_what_is_delivered(
    engine: Engine, make_job: MakeJob, picture: npt.NDArray[np.uint8]
) -> None:
    """A video of one frame has a middle that is delivered as it is, cut to a size off the network's grid."""
    plain = make_job(keyframes=())
    stage = dataclasses.replace(plain.stages[0], num_frames=1, steps=3)
    job = dataclasses.replace(plain, num_frames=1, width=56, height=62, stages=(stage,))
    watcher = Watcher()
    made = engine.generate(job, {}, should_stop=lambda: False, **watcher.options)
    (frame,) = np.concatenate(list(made.frames))
    *earlier, last = watcher.pictures
    assert last.shape == (62, 56, 3)
    shown = to_yuv420(torch.from_numpy(last).permute(2, 0, 1)[None] / 255)[0].numpy()
    assert np.abs(shown.astype(int) - frame).max() <= 1  # rounded to 8 bits before
    assert all(np.abs(each.astype(int) - last).max() > 2 for each in earlier)


def test_what_an_image_holds_is_not_shown(engine: Engine, make_job: MakeJob, picture: npt.NDArray[np.uint8]) -> None:
    """The first latent frame of any seed is the start image; pictures show another one, which differs by the seed."""
    made = []
    for seed in (1, 2):
        watcher = Watcher()
        job = make_job(seed=seed, keyframes=(Keyframe(image="image_url", frame=0),), num_frames=17)
        list(engine.generate(job, {"image_url": picture}, should_stop=lambda: False, **watcher.options).frames)
        made.append(watcher.pictures[-1])
    assert np.abs(made[0].astype(int) - made[1]).max() > 2


@pytest.mark.parametrize(
    ("computed", "delivered", "shown"),
    [
        ((704, 1280), (1280, 704), (704, 1280)),
        ((1088, 1920), (1920, 1080), (1080, 1920)),
        ((544, 960), (1920, 1080), (540, 960)),
        ((704, 1280), (3840, 2160), (704, 1252)),
        ((64, 64), (4096, 64), (1, 64)),
    ],
)
def test_pictures_are_cut_like_the_delivery(
    computed: tuple[int, int], delivered: tuple[int, int], shown: tuple[int, int]
) -> None:
    frame = torch.rand(3, *computed)
    cut = delivery.shown(frame, *delivered)
    assert cut.shape == (3, *shown)
    top, left = (computed[0] - shown[0]) // 2, (computed[1] - shown[1]) // 2
    assert torch.equal(cut, frame[:, top : top + shown[0], left : left + shown[1]])


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Family, Footprint]:
    folder = tmp_path_factory.mktemp("full")
    found: dict[Family, Footprint] = {}
    for name in VERSIONS:
        bundle: Path = write_full_size_bundle(folder / name, name)
        found[name] = measure_bundle(bundle, load_manifest(bundle), itemsize=2)
    return found


@pytest.mark.parametrize(("rows", "columns"), [(22, 40), (34, 60)])
def test_one_latent_frame_takes_what_the_plan_says(
    full: Mapping[Family, Footprint], family: Family, rows: int, columns: int
) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video

    vae = built(AutoencoderKLLTX2Video, "vae", family)
    counted = peak_bytes(vae, lambda: vae.decode(empty(1, 128, 1, rows, columns), return_dict=False))
    nothing = Tokens(video=0, audio=0, everywhere=0)
    close(activations.previewing(full[family].widths, nothing, rows * columns, 0), counted, above=0.3)


@pytest.mark.parametrize(
    ("card", "size", "room"),
    [
        (141, (1280, 704), True),
        (80, (1280, 704), True),
        (48, (1280, 704), True),
        (24, (1280, 704), False),
        (141, (3840, 2176), True),
        (80, (768, 512), True),
    ],
)
def test_which_cards_have_room_for_pictures(
    full: Mapping[Family, Footprint], family: Family, card: float, size: tuple[int, int], room: bool
) -> None:
    footprint = full[family]
    made = plan(footprint, work(footprint, *size), card)
    for stage in range(len(made.stages)):
        previewed = made.previewed(stage)
        assert (previewed is not None) == room
        if previewed is not None:
            assert previewed.networks == ("transformer", "vae")
            assert made.weights(previewed) + previewed.activations <= made.room.device
            # The usual sizes need nothing beyond what a step had.
            assert previewed.activations == made.phase(previewed.name).activations


def test_short_videos_need_more_for_a_picture_than_for_a_step(full: Mapping[Family, Footprint], family: Family) -> None:
    footprint = full[family]
    made = plan(footprint, work(footprint, 1280, 704, 9), 80)
    previewed = made.previewed(0)
    assert previewed is not None
    assert previewed.activations > made.phase("denoise 1").activations


def test_no_room_is_told_apart_to_the_byte(full: Mapping[Family, Footprint], family: Family) -> None:
    footprint = full[family]
    made = dataclasses.replace(plan(footprint, work(footprint, 1280, 704, 9), 80), level="swapped")
    previewed = made.previewed(0)
    assert previewed is not None
    needed = made.weights(previewed) + previewed.activations
    for room, expected in ((needed, previewed), (needed - 1, None)):
        tight = dataclasses.replace(made, room=dataclasses.replace(made.room, device=room))
        assert tight.previewed(0) == expected
