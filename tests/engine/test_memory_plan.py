"""The plan of memory: which level each card gets, that more memory is never worse, and what a refusal says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from full_size import write_full_size_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.engine.components import load_components
from stillmotion.engine.engine import Engine
from stillmotion.engine.footprint import Footprint, in_8_bits, measure_bundle, measure_networks
from stillmotion.engine.hardware import RESERVE
from stillmotion.engine.manifest import Manifest, load_manifest
from stillmotion.engine.memory_plan import LEVELS, Level, Plan, Room, make_plan
from stillmotion.engine.occupancy import networks_of
from stillmotion.engine.tiling import Limits
from stillmotion.engine.workload import StageSize, Workload, usual_workload
from stillmotion.errors import OutOfMemory
from stillmotion.job import Family

GB = 10**9
HOST = 96 * 2**30
CONDITIONAL = frozenset({"conditional"})


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Family, tuple[Footprint, Manifest]]:
    folder = tmp_path_factory.mktemp("full")
    found = {}
    for family in ("ltx-2", "ltx-2.3"):
        bundle = write_full_size_bundle(folder / family, family)
        manifest = load_manifest(bundle)
        found[family] = (measure_bundle(bundle, manifest, itemsize=2), manifest)
    return found


@pytest.fixture
def footprint(full: Mapping[Family, tuple[Footprint, Manifest]], family: Family) -> Footprint:
    return full[family][0]


def work(footprint: Footprint, width: int, height: int, num_frames: int = 121) -> Workload:
    """One stage with all passes up to 1280x704; the Pro recipe above: a quarter, a half, and then the whole."""
    manifest = Manifest(**dict.fromkeys(("name", "family", "stg_block", "max_sequence_length", "licence")))
    usual = usual_workload(footprint.widths, manifest, width=width, height=height, num_frames=num_frames)
    if width * height <= 1280 * 704:
        return usual
    small = work(footprint, width // 4, height // 4, num_frames).stages[0]
    middle = doubled(small)
    return replace(usual, stages=(small, middle, doubled(middle)))


def doubled(stage: StageSize) -> StageSize:
    sizes = {name: 2 * getattr(stage, name) for name in ("width", "height", "rows", "columns")}
    return replace(stage, **sizes, passes=CONDITIONAL, start="spatial_x2")


def plan(footprint: Footprint, work: Workload, card: float, *, host: int | None = HOST) -> Plan:
    """For a card of ``card`` GB, of which the reserve is left alone."""
    return make_plan(footprint, work, Room(device=int(card * GB) - RESERVE, host=host), limits=Limits())


def test_sizes_are_the_published_ones(full: Mapping[Family, tuple[Footprint, Manifest]]) -> None:
    """Parameters after SIZES.md, at two bytes each; the sound's at four. Gemma's are 12.2e9."""
    older, newer = full["ltx-2"][0], full["ltx-2.3"][0]
    assert older.networks["transformer"].size == 2 * 18_876_174_592
    assert newer.networks["transformer"].size == 2 * 18_988_838_144
    assert older.networks["connectors"].size == 2 * 1_431_475_200
    assert newer.networks["vae"].size == 2 * 726_106_225
    assert newer.networks["vocoder"].size == 4 * 129_085_032
    assert 24.3 * GB < newer.networks["text_encoder"].size < 24.5 * GB
    for name, size in (("transformer", 0.78 * GB), ("text_encoder", 0.45 * GB)):
        blocks = newer.networks[name].blocks
        assert len(blocks) == 48
        assert max(blocks) < size
    assert older.widths.lasting_text_keys
    assert not newer.widths.lasting_text_keys
    assert (newer.widths.video, newer.widths.audio, newer.widths.audio_rate) == (4096, 2048, 25)


def test_headers_tell_what_loaded_networks_are(bundles: Mapping[Family, Path], family: Family) -> None:
    import torch

    manifest = load_manifest(bundles[family])
    components = load_components(bundles[family], manifest, torch.device("cpu"), torch.float32)
    told = measure_bundle(bundles[family], manifest, itemsize=4)
    found = measure_networks(manifest, networks_of(components), itemsize=4)
    assert told.widths == found.widths
    assert told.networks.keys() == found.networks.keys()
    for name, network in told.networks.items():  # but for buffers that no file has
        assert network.blocks == found.networks[name].blocks
        assert network.size <= found.networks[name].size <= network.size * 1.02 + 1024, name


@pytest.mark.parametrize(
    ("card", "width", "height", "level"),
    [
        (141, 1280, 704, "resident"),
        (141, 768, 512, "resident"),
        (141, 3840, 2176, "resident"),
        (80, 1280, 704, "swapped"),
        (80, 768, 512, "resident"),
        (80, 3840, 2176, "swapped"),
        (48, 1280, 704, "swapped"),
        (24, 1280, 704, "streamed"),
        (24, 768, 512, "streamed"),
        (24, 3840, 2176, "streamed"),
    ],
)
def test_named_cards(footprint: Footprint, card: int, width: int, height: int, level: Level) -> None:
    planned = plan(footprint, work(footprint, width, height), card)
    assert planned.level == level
    assert planned.peak <= card * GB - RESERVE
    exact = (card, width) != (24, 3840)
    assert all(stage.batched and (stage.denoised_tokens is None) for stage in planned.stages) == exact
    assert (planned.decoded_cells == Limits().decoded_cells) == exact
    if card == 141:  # beside the work, all weights of another set of LoRAs
        assert planned.spare > footprint.networks["transformer"].size


def test_the_usual_work_of_24_gb_leaves_room_for_leading_blocks(footprint: Footprint) -> None:
    planned = plan(footprint, work(footprint, 1280, 704), 24)
    denoising = planned.phase("denoise 1")
    left = planned.room.device - planned.weights(denoising) - denoising.activations
    assert left > 15 * max(footprint.networks["transformer"].blocks)


def test_8_bits_halve_the_blocks(footprint: Footprint) -> None:
    cast = in_8_bits(footprint)
    size, before = cast.networks["transformer"].size, footprint.networks["transformer"].size
    assert 0.5 * before < size < 0.56 * before
    assert plan(cast, work(footprint, 1280, 704), 80).level == "resident"


sizes = st.tuples(st.integers(2, 30), st.integers(2, 30), st.integers(0, 20)).map(
    lambda drawn: (64 * drawn[0], 64 * drawn[1], 8 * drawn[2] + 1)
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=sizes)
def test_more_memory_is_never_worse(
    full: Mapping[Family, tuple[Footprint, Manifest]], data: st.DataObject, size: tuple[int, int, int]
) -> None:
    footprint = full[data.draw(st.sampled_from(["ltx-2", "ltx-2.3"]))][0]
    cards = sorted(data.draw(st.lists(st.floats(4, 160), min_size=2, max_size=2)))
    plans: list[Plan | None] = []
    for card in cards:
        try:
            plans.append(plan(footprint, work(footprint, *size), card))
        except OutOfMemory:
            plans.append(None)
    less, more = plans
    if less is None:
        return
    assert more is not None
    assert less.peak <= less.room.device
    tiled = [each.limits.denoised_tokens is not None or each.decoded_cells < 2040 for each in (less, more)]
    assert tiled[0] or not tiled[1]
    if tiled[0] == tiled[1]:
        assert LEVELS.index(more.level) <= LEVELS.index(less.level)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=sizes)
def test_more_tokens_never_take_less(
    full: Mapping[Family, tuple[Footprint, Manifest]], data: st.DataObject, size: tuple[int, int, int]
) -> None:
    footprint = full[data.draw(st.sampled_from(["ltx-2", "ltx-2.3"]))][0]
    width, height, num_frames = size
    larger = width + 64 * data.draw(st.integers(0, 8)), height, num_frames + 8 * data.draw(st.integers(0, 8))

    def peaks(size: tuple[int, int, int]) -> dict[str, int]:
        # With tiles of decoding out of the way: a larger canvas may be cut into smaller ones.
        room = Room(device=10**15)
        whole = make_plan(footprint, work(footprint, *size), room, limits=Limits(decoded_cells=10**6))
        return {phase.name: phase.activations for phase in whole.phases}

    little, much = peaks(size), peaks(larger)
    for name in ("text", "image", "decode video", "decode audio"):
        assert little[name] <= much[name]
    if width * height > 1280 * 704 or larger[0] * height <= 1280 * 704:  # the same recipe
        # Up to 4096 tokens the passes may be a batch, which takes more than one pass of a few more tokens.
        assert little["denoise 1"] <= 3 * much["denoise 1"]
        tokens = work(footprint, *size).stages[0].tokens().video
        if tokens > 4096 or work(footprint, *larger).stages[0].tokens().video <= 4096:
            assert little["denoise 1"] <= much["denoise 1"]


def test_a_device_that_is_too_small_is_told_with_numbers(footprint: Footprint) -> None:
    with pytest.raises(OutOfMemory) as caught:
        plan(footprint, work(footprint, 1280, 704), 8)
    message = caught.value.message
    assert message.startswith(("2.", "4."))
    assert "GiB more were needed: text needs at least" in message
    assert "(streamed), and 6.45 GiB can be used" in message
    assert message.endswith("What would help: weights of 8 bits or a device with more memory")
    with pytest.raises(OutOfMemory, match="What would help: fewer frames or a smaller size"):
        plan(footprint, work(footprint, 3840, 2176), 12)


def test_a_host_that_is_too_small_is_told_with_numbers(footprint: Footprint) -> None:
    size = footprint.size / 2**30
    with pytest.raises(OutOfMemory) as caught:
        plan(footprint, work(footprint, 1280, 704), 24, host=32 * 2**30)
    assert caught.value.message.startswith(f"{size - 32:.2f} GiB more were needed on the host")
    assert f"{size:.2f} GiB of weights do not fit the 32.00 GiB of host memory" in caught.value.message
    assert plan(footprint, work(footprint, 1280, 704), 141, host=0).level == "resident"


def test_a_level_that_is_asked_for_is_kept(footprint: Footprint) -> None:
    usual, room = work(footprint, 1280, 704), Room(device=141 * GB, host=HOST)
    for level in LEVELS:
        assert make_plan(footprint, usual, room, memory=level, limits=Limits()).level == level
    with pytest.raises(OutOfMemory, match=r"\(resident\)"):
        make_plan(footprint, usual, Room(device=60 * GB, host=HOST), memory="resident", limits=Limits())
    with pytest.raises(OutOfMemory, match=r"\(swapped\)"):  # compiled blocks stay where they are
        make_plan(footprint, usual, Room(device=24 * GB, host=HOST), limits=Limits(), streamable=False)


def test_the_plan_can_be_read(footprint: Footprint) -> None:
    planned = plan(footprint, work(footprint, 1280, 704), 24)
    first, titles, *phases = planned.table()
    assert f"{footprint.name} is streamed" in first
    assert "21.35 GiB to use on the device, 96.00 GiB on the host" in first
    assert titles.split() == ["memory:", "phase", "weights", "work", "together"]
    assert len(phases) == len(planned.phases)
    assert phases[2].startswith("memory: denoise 1")


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(full: object, tmp_path: Path, family: Family) -> None:
    """The file's data are a hole: reading any of its 46 GB would take minutes, and end differently."""
    bundle = write_full_size_bundle(tmp_path / "bundle", family)
    told: list[str] = []
    from stillmotion.engine.budget import MemoryOptions

    with pytest.raises(OutOfMemory, match=r"out of memory on cpu for ltx-2.*: \d+\.\d\d GiB more were needed: "):
        Engine.load(
            bundle, device="cpu", dtype="bfloat16", memory=MemoryOptions(device_bytes=6 * GB), on_progress=told.append
        )
    assert told == []
