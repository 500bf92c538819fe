"""Levels of residency: the same video from each, the right networks on the device, and nothing broken by a failure.

The device is the CPU: what is on it are copies beside the weights at home, told apart by their addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from stillmotion.engine.budget import MemoryOptions, make_budget
from stillmotion.engine.components import load_components
from stillmotion.engine.engine import Engine, Generation
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.memory_plan import Memory, Room
from stillmotion.engine.occupancy import networks_of
from stillmotion.engine.residency.blocks import tensors_of
from stillmotion.engine.sampler import Stopped
from stillmotion.engine.tiling import Limits
from stillmotion.engine.workload import workload_of
from stillmotion.errors import EngineError, OutOfMemory
from stillmotion.job import Family, Guidance, Job, Lora, Stage

MakeJob = Callable[..., Job]
Picture = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
LEVELS: tuple[Memory, ...] = ("swapped", "streamed")
GUIDED = Guidance(cfg=3, stg=1, modality=2)
DISTILLED = Lora(name="distilled", scale=0.7, bundled=True)


@pytest.fixture
def two_stages(make_job: MakeJob) -> Job:
    """All passes, then a refining stage under other LoRAs: every phase there is."""
    size = {"num_frames": 9, "fps": 24.0}
    first = Stage(width=64, height=64, steps=2, video=GUIDED, audio=GUIDED, **size)
    second = Stage(width=128, height=128, steps=3, schedule="distilled", start="spatial_x2", loras=(DISTILLED,), **size)
    return make_job(width=128, height=128, stages=(first, second))


@pytest.fixture(scope="module")
def resident(bundles: Mapping[Family, Path]) -> Mapping[Family, Engine]:
    """Engines that keep all where it is. Their weights are copied: a file's lie where they happen to, not at multiples
    of 64 bytes, and the CPU's matrix product rounds differently there."""
    made = {}
    for family, folder in bundles.items():
        manifest = load_manifest(folder)
        components = load_components(folder, manifest, CPU, torch.float32)
        for network in networks_of(components).values():
            for tensor in tensors_of(network):
                tensor.data = tensor.data.clone()
        made[family] = Engine(folder, manifest, components)
    return made


@pytest.fixture
def load(bundles: Mapping[Family, Path], family: Family) -> Callable[..., Engine]:
    def loaded(memory: Memory = "auto", **options: Any) -> Engine:
        return Engine.load(bundles[family], device="cpu", memory=MemoryOptions(memory=memory, **options))

    return loaded


def generate(engine: Engine, job: Job, picture: Picture, **options: Any) -> Generation:
    return engine.generate(
        job, {"image_url": picture}, **{"on_progress": lambda _: None, "should_stop": lambda: False} | options
    )


def video(engine: Engine, job: Job, picture: Picture, **options: Any) -> tuple[bytes, bytes]:
    made = generate(engine, job, picture, **options)
    assert made.audio is not None
    return b"".join(chunk.tobytes() for chunk in made.frames), made.audio.tobytes()


@pytest.mark.parametrize("memory", LEVELS)
@pytest.mark.parametrize("acceleration", ["none", "high"])
def test_every_level_makes_the_same_bytes(
    resident: Mapping[Family, Engine],
    load: Callable[..., Engine],
    family: Family,
    two_stages: Job,
    picture: Picture,
    memory: Memory,
    acceleration: Any,
) -> None:
    """Through resumed blocks, remembered modules, skipped blocks, merged LoRAs: twice, as the first job moves all."""
    job = replace(two_stages, acceleration=acceleration)
    expected = video(resident[family], job, picture)
    engine = load(memory)
    assert video(engine, job, picture) == expected
    assert video(engine, job, picture) == expected


def test_a_small_device_makes_the_same_bytes(
    bundles: Mapping[Family, Path],
    resident: Mapping[Family, Engine],
    family: Family,
    two_stages: Job,
    picture: Picture,
) -> None:
    """Networks that were loaded on the device leave it, with the LoRAs that are merged there, and come back."""
    expected = video(resident[family], two_stages, picture)
    manifest = load_manifest(bundles[family])
    components = load_components(bundles[family], manifest, CPU, torch.float32)
    for network in networks_of(components).values():
        for tensor in tensors_of(network):
            tensor.data = tensor.data.clone()
    options = MemoryOptions(device_bytes=1 << 40)
    budget = make_budget(bundles[family], manifest, CPU, torch.float32, options, Limits())
    work = workload_of(two_stages, budget.footprint.widths)
    least = budget.plan(work).peak - budget.footprint.size
    tight = replace(budget, room=Room(device=least + budget.footprint.size // 2))
    assert tight.plan(work).level == "swapped"
    engine = Engine(bundles[family], manifest, components, budget=tight)
    everything = engine.held
    for _ in range(2):
        assert video(engine, two_stages, picture) == expected
        assert engine.held.keys() < everything.keys()


@pytest.mark.parametrize("memory", LEVELS)
def test_only_the_phases_networks_are_on_the_device(
    load: Callable[..., Engine], two_stages: Job, picture: Picture, memory: Memory
) -> None:
    engine = load(memory)
    whole = Engine.load(engine._folder, device="cpu").held
    assert engine.held == {}
    seen: list[dict[str, int]] = []
    made = generate(engine, two_stages, picture, on_progress=lambda _: seen.append(engine.held))
    assert len(seen) == 5
    for held in seen:
        assert held.keys() == {"transformer"}
        assert held["transformer"] <= whole["transformer"]
        assert (held["transformer"] < whole["transformer"]) == (memory == "streamed")
    assert engine.held.keys() == {"audio_vae", "vocoder"}
    for _ in made.frames:
        assert engine.held.keys() == {"vae"}


@pytest.mark.parametrize("memory", LEVELS)
def test_a_text_that_is_known_brings_no_text_encoder(
    load: Callable[..., Engine], make_job: MakeJob, picture: Picture, memory: Memory
) -> None:
    engine, job = load(memory), make_job()
    list(generate(engine, job, picture).frames)
    moved: list[set[str]] = []
    bring = engine._occupancy._residency.bring

    def seen(*names: str, beside: int = 0) -> None:
        moved.append(set(names))
        bring(*names, beside=beside)

    engine._occupancy._residency.bring = seen  # type: ignore[method-assign]
    list(generate(engine, replace(job, seed=8), picture).frames)
    assert {"transformer"} in moved
    assert not any("text_encoder" in names for names in moved)


@pytest.mark.parametrize("memory", LEVELS)
def test_loras_come_and_go_alike_at_every_level(
    resident: Mapping[Family, Engine],
    load: Callable[..., Engine],
    family: Family,
    make_job: MakeJob,
    picture: Picture,
    memory: Memory,
) -> None:
    """A, B, none, A: merged from pristine weights each time, and the same bits as where nothing ever moves."""

    def job(*loras: Lora) -> Job:
        plain = make_job()
        return replace(plain, stages=(replace(plain.stages[0], loras=loras),))

    other = Lora(name="dolly_left", scale=1.0, bundled=True)
    jobs = [job(DISTILLED), job(DISTILLED, other), job(), job(DISTILLED)]
    expected = [video(resident[family], each, picture) for each in jobs]
    assert expected[0] == expected[3] != expected[2]
    engine = load(memory)
    assert [video(engine, each, picture) for each in jobs] == expected


@pytest.mark.parametrize("memory", LEVELS)
def test_unmerged_loras_where_the_host_has_no_room(
    load: Callable[..., Engine], make_job: MakeJob, picture: Picture, memory: Memory
) -> None:
    """Pristine weights beside the ones at home are another transformer; without room for it nothing is written."""
    plain = make_job()
    job = replace(plain, stages=(replace(plain.stages[0], loras=(DISTILLED,)),))
    told: list[str] = []
    merged = load(memory)
    without = load(memory, host_bytes=sum(Engine.load(merged._folder, device="cpu").held.values()))
    exact = np.frombuffer(video(merged, job, picture)[0], np.uint8).astype(int)
    beside = np.frombuffer(video(without, job, picture, on_log=told.append)[0], np.uint8).astype(int)
    assert any("unmerged" in line for line in told)
    assert np.abs(exact - beside).max() <= 2


@pytest.mark.parametrize("memory", LEVELS)
def test_stopping_and_failing_leave_a_sound_engine(
    resident: Mapping[Family, Engine],
    load: Callable[..., Engine],
    family: Family,
    two_stages: Job,
    picture: Picture,
    memory: Memory,
) -> None:
    expected = video(resident[family], two_stages, picture)
    engine = load(memory)
    for last in (1, 3):
        seen: list[object] = []
        stop = partial(_has, seen, last)
        with pytest.raises(Stopped):
            generate(engine, two_stages, picture, on_progress=seen.append, should_stop=stop)
    block = engine._components.transformer.transformer_blocks[1]
    with raising(block), pytest.raises(OutOfMemory, match="out of memory on cpu for stage 1 of 2"):
        generate(engine, two_stages, picture)
    assert video(engine, two_stages, picture) == expected


def _has(seen: list[object], count: int) -> bool:
    return len(seen) == count


@contextmanager
def raising(block: nn.Module) -> Iterator[None]:
    """In the middle of ``block``, with its weights on the device."""

    def fail(*_: Any) -> None:
        raise MemoryError

    handle = block.get_submodule("attn2").register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("memory", LEVELS)
def test_a_job_may_come_while_another_is_read(
    load: Callable[..., Engine], make_job: MakeJob, picture: Picture, memory: Memory
) -> None:
    engine, job = load(memory), make_job(num_frames=17)
    other = replace(job, seed=9)
    expected = video(engine, job, picture), video(engine, other, picture)
    first = generate(engine, job, picture)
    begun = [next(first.frames)]
    second = generate(engine, other, picture)
    frames = b"".join(chunk.tobytes() for chunk in (*begun, *first.frames))
    assert frames == expected[0][0]
    assert b"".join(chunk.tobytes() for chunk in second.frames) == expected[1][0]


def test_weights_of_8_bits_move_like_others(
    bundles: Mapping[Family, Path], family: Family, make_job: MakeJob, picture: Picture
) -> None:
    job = make_job()
    job = replace(job, stages=(replace(job.stages[0], loras=(DISTILLED,)),))

    def load(memory: Memory, **options: Any) -> Engine:
        return Engine.load(bundles[family], device="cpu", memory=MemoryOptions(memory=memory), **options)

    whole = load("swapped")
    engines = [load(memory, weights="float8") for memory in ("resident", *LEVELS)]
    made = [video(engine, job, picture) for engine in engines]
    assert made[0] == made[1] == made[2] != video(whole, job, picture)
    # A layer's weight takes a quarter of fp32, in the one block that is neither the first nor the last.
    sizes = [engine.held["transformer"] for engine in (engines[0], load("resident"))]
    assert 0.6 * sizes[1] < sizes[0] < 0.9 * sizes[1]


def test_compiled_blocks_are_not_streamed(bundles: Mapping[Family, Path], family: Family) -> None:
    with pytest.raises(EngineError, match="exclude each other"):
        Engine.load(bundles[family], device="cpu", memory=MemoryOptions(memory="streamed"), compiled=True)


def test_the_author_writes_at_every_level(bundles: Mapping[Family, Path], tmp_path: Path) -> None:
    from stillmotion.engine.tiny import build_tiny_bundle

    folder = tmp_path / "able"
    build_tiny_bundle(folder, "ltx-2.3", can_expand_prompts=True)
    replies = set()
    for memory in ("resident", *LEVELS):
        engine = Engine.load(folder, device="cpu", memory=MemoryOptions(memory=memory))
        assert engine.chat is not None
        reply = engine.chat.reply("Rewrite.", "a cat", seed=1, should_stop=lambda: False, max_tokens=4)
        replies.add(reply.text)
        assert "text_encoder" in engine.held
    assert len(replies) == 1


def test_a_canvas_that_cannot_fit_is_refused_before_anything_is_computed(
    load: Callable[..., Engine], make_job: MakeJob, picture: Picture
) -> None:
    engine, told = load(), list[str]()
    size = {"width": 1 << 16, "height": 1 << 16}
    job = make_job(**size)
    with pytest.raises(OutOfMemory, match=r"65536x65536 and 9 frames: \d+\.\d\d GiB more were needed: .* needs at lea"):
        generate(engine, job, picture, on_log=told.append)
    assert told == []
    assert video(engine, make_job(), picture)
