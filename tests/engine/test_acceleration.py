"""Acceleration: what each level leaves out, that nothing else changes, and how far the result moves."""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import AUDIO, GRID, NEGATIVE, PROMPT, VIDEO, embed
from torch import Tensor

from stillmotion.engine import conditioning
from stillmotion.engine.acceleration import LEVELS, Level, Pace, passes_at, regular_at_most
from stillmotion.engine.block_cache import BlockCache
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.guidance import Pass, combine, needed, weights, without
from stillmotion.engine.noise import Noise, gaussian
from stillmotion.engine.sampler import RESTART_ETA, State, sample
from stillmotion.engine.schedule import levels
from stillmotion.job import Acceleration, Guidance

CPU = torch.device("cpu")
NONE = Guidance()
CFG = Guidance(cfg=3)
ALL: frozenset[Pass] = frozenset({"conditional", "negative", "perturbed", "isolated"})
ALONE: frozenset[Pass] = frozenset({"conditional"})
LORA = levels("beta", 15)[:-1]
DEV = levels("ltx2", 40)[:-1]

accelerations = st.sampled_from(sorted(set(LEVELS) - {"none"}))
requirements = st.sets(st.sampled_from(sorted(ALL - ALONE))).map(lambda extra: ALONE | extra)
runs = st.lists(st.floats(0.01, 1), min_size=1, max_size=50, unique=True).map(lambda s: sorted(s, reverse=True))


def planned(level: Level, wanted: Collection[Pass], sigmas: list[float]) -> list[Any]:
    pace = Pace(level, frozenset(wanted), len(sigmas))
    return [pace.at(sigma) for sigma in sigmas]


@given(wanted=requirements, sigmas=runs)
def test_none_computes_everything(wanted: frozenset[Pass], sigmas: list[float]) -> None:
    for now in planned(LEVELS["none"], wanted, sigmas):
        assert (now.computed, now.carried, now.dropped, now.may_skip_blocks) == (wanted, set(), set(), False)


@given(acceleration=accelerations, wanted=requirements, sigmas=runs)
def test_every_step_accounts_for_every_pass(
    acceleration: Acceleration, wanted: frozenset[Pass], sigmas: list[float]
) -> None:
    level, last = LEVELS[acceleration], math.inf
    plan = planned(level, wanted, sigmas)
    for step, (now, sigma) in enumerate(zip(plan, sigmas, strict=True)):
        assert "conditional" in now.computed
        assert now.computed | now.carried | now.dropped == wanted
        assert len(now.computed) + len(now.carried) + len(now.dropped) == len(wanted)
        assert bool(now.dropped) is (
            step >= level.refine * len(sigmas)
            and not wanted.isdisjoint(ALL - {"negative"} - ALONE)
            and level.refine < 1
        )
        if now.carried:
            assert last - sigma < level.drift
            assert step >= level.exact * len(sigmas)
        else:
            last = sigma
        if now.may_skip_blocks:
            assert now.computed == ALONE
            assert level.threshold > 0
            assert 0 < step < len(sigmas) - 1


def test_the_endpoints_defaults_in_passes() -> None:
    """15 steps of the LoRA endpoint with all four passes, and 40 of the 19B one with two."""

    def count(acceleration: Acceleration, wanted: frozenset[Pass], sigmas: list[float]) -> int:
        return sum(len(now.computed) for now in planned(LEVELS[acceleration], wanted, sigmas))

    cfg: frozenset[Pass] = frozenset({"conditional", "negative"})
    assert [count(level, ALL, LORA) for level in ("none", "regular", "high", "full")] == [60, 36, 33, 24]
    assert [count(level, cfg, DEV) for level in ("none", "regular", "high", "full")] == [80, 51, 49, 48]


def test_levels_give_up_more_and_more() -> None:
    regular, high, full = LEVELS["regular"], LEVELS["high"], LEVELS["full"]
    assert LEVELS["none"] == Level()
    assert regular.drift < high.drift < full.drift
    assert regular.threshold == 0 < high.threshold < full.threshold
    assert regular.refine == high.refine == 1 > full.refine
    with pytest.raises(TypeError):
        LEVELS["none"] = Level()  # type: ignore[index]


def test_passes_are_computed_again_after_the_drift() -> None:
    level = Level(exact=0.1, drift=0.1)
    assert passes_at(level, ALL, 0, 10, math.inf).computed == ALL
    assert passes_at(level, ALL, 5, 10, 0.09).computed == ALONE
    assert passes_at(level, ALL, 5, 10, 1 - 0.9).computed == ALL
    assert passes_at(level, ALL, 0, 10, 0.0).computed == ALL


@given(dropped=st.sets(st.sampled_from(sorted(ALL - ALONE))), seed=st.integers(0, 50))
def test_a_dropped_pass_has_no_term(dropped: set[Pass], seed: int) -> None:
    guidance = Guidance(cfg=3, stg=2, modality=4)
    left = without(guidance, dropped)
    assert weights(left).keys() == weights(guidance).keys() - dropped
    assert needed(left, NONE) == ALL - dropped


def held_by(components: Components) -> conditioning.Conditioning:
    channels = components.transformer.config.in_channels
    image = torch.randn(1, GRID.rows * GRID.columns, channels, generator=torch.Generator().manual_seed(3))
    return conditioning.free(GRID.video_coords(components.transformer, CPU), channels).with_start(image, 1.0)


def denoiser(components: Components, video: Guidance, audio: Guidance, **options: Any) -> Denoiser:
    options = {"stg_block": 1, "mode": "sequential"} | options
    texts = [embed(components, prompt) for prompt in (PROMPT, NEGATIVE)]
    return Denoiser(components.transformer, GRID, held_by(components), *texts, video=video, audio=audio, **options)


def state_for(components: Components, seed: int = 1) -> State:
    config = components.transformer.config
    return State(
        gaussian(seed, "video", (1, GRID.tokens, config.in_channels), CPU),
        gaussian(seed, "audio", (1, GRID.audio_frames, config.audio_in_channels), CPU),
    )


def generated(
    components: Components, sigmas: list[float], video: Guidance = VIDEO, audio: Guidance = AUDIO, **options: Any
) -> tuple[State, Denoiser]:
    network, held = denoiser(components, video, audio, steps=len(sigmas), **options), held_by(components)
    config = components.transformer.config
    noise = Noise(
        seed=5,
        video=(1, GRID.tokens, config.in_channels),
        audio=(1, GRID.audio_frames, config.audio_in_channels),
        keyframes=0,
        device=CPU,
    )
    with torch.inference_mode():
        clean = sample(
            network,
            noise,
            [*sigmas, 0.0],
            held,
            eta=RESTART_ETA,
            on_step=lambda step: None,
            should_stop=lambda: False,
        )
    return clean, network


def same(left: State, right: State) -> bool:
    return torch.equal(left.video, right.video) and torch.equal(left.audio, right.audio)


def likeness(one: Tensor, other: Tensor) -> float:
    """PSNR in dB, the peak being the range of ``other``."""
    return float(20 * torch.log10((other.max() - other.min()) / (one - other).square().mean().sqrt()))


def test_none_is_exact_and_reports_nothing(components: Components) -> None:
    plain, network = generated(components, LORA[:3])
    told, _ = generated(components, LORA[:3], acceleration="none")
    assert same(plain, told)
    assert network.report is None


def test_a_refining_stage_is_never_accelerated(components: Components) -> None:
    plain, _ = generated(components, [0.9, 0.725, 0.42])
    refined, network = generated(components, [0.9, 0.725, 0.42], acceleration="full", refining=True)
    assert same(plain, refined)
    assert network.report is None


def test_a_level_needs_the_number_of_steps(components: Components) -> None:
    with pytest.raises(ValueError, match="regular needs to know the number of steps"):
        denoiser(components, CFG, CFG, acceleration="regular")


@pytest.mark.parametrize("mode", ["sequential", "batched"])
def test_a_carried_pass_keeps_its_distance_in_velocity(components: Components, mode: str) -> None:
    """``p = c - s/s_last (c_last - p_last)``, put together by hand from passes that were asked for one by one."""
    sigmas = [0.9, 0.84, 0.7]  # of ten steps: computed, carried, computed
    options = {"mode": mode, "timestep_per_token": True}
    guidance = Guidance(cfg=3, stg=2, modality=3, rescale=0.5)
    network = denoiser(components, guidance, guidance, acceleration="regular", steps=10, **options)
    exact = denoiser(components, guidance, guidance, **options)
    states = [state_for(components, seed) for seed in range(3)]
    with torch.no_grad():
        guided = [network(state, sigma) for state, sigma in zip(states, sigmas, strict=True)]
        passes = [exact.passes(state, sigma) for state, sigma in zip(states, sigmas, strict=True)]
    for modality in ("video", "audio"):
        was, now = ({name: getattr(each, modality) for name, each in step.items()} for step in passes[:2])
        carried = {
            name: now["conditional"] - sigmas[1] / sigmas[0] * (was["conditional"] - was[name]) for name in ALL - ALONE
        }
        expected = combine({"conditional": now["conditional"], **carried}, guidance)
        torch.testing.assert_close(getattr(guided[1], modality), expected, atol=1e-5, rtol=0)
        assert (combine(now, guidance) - expected).abs().max() > 1e-3  # it is not the exact one
    for step in (0, 2):
        expected_video = combine({name: each.video for name, each in passes[step].items()}, guidance)
        torch.testing.assert_close(guided[step].video, expected_video, atol=1e-5, rtol=0)
    assert network.report == "acceleration regular: 9 of 12 passes computed, 0 of 3 steps from cache"


def test_full_drops_two_passes_late(components: Components) -> None:
    guidance, state = Guidance(cfg=3, stg=2, modality=3), state_for(components)
    network = denoiser(components, guidance, guidance, acceleration="full", steps=3, timestep_per_token=True)
    left = denoiser(components, CFG, CFG, timestep_per_token=True)
    with torch.no_grad():
        for step, sigma in enumerate((0.9, 0.6, 0.3)):  # 60 % of three steps are over before the last
            assert same(network(state, sigma), left(state, sigma)) is (step == 2)


@pytest.mark.parametrize("acceleration", ["regular", "high", "full"])
def test_the_same_seed_gives_the_same_result(components: Components, acceleration: Acceleration) -> None:
    one, network = generated(components, LORA, acceleration=acceleration)
    two, again = generated(components, LORA, acceleration=acceleration)
    assert same(one, two)
    assert network.report == again.report
    assert not same(one, generated(components, LORA)[0])


def test_how_far_the_levels_move_the_result(components: Components) -> None:
    """The goals of a real model on networks of random weights, which are harsher: their passes differ more.

    At this scale STG's weight of the endpoint, 1, hardly shows; parity.VIDEO has 6.
    """
    video, audio = replace(VIDEO, stg=1), AUDIO
    exact, _ = generated(components, LORA, video, audio)
    for acceleration, least in (("regular", 30), ("high", 26)):
        level: Acceleration = acceleration  # type: ignore[assignment]
        moved, _ = generated(components, LORA, video, audio, acceleration=level)
        assert likeness(moved.video, exact.video) >= least, acceleration
        assert likeness(moved.audio, exact.audio) >= least, acceleration


# The cache of blocks.


def asked(components: Components, cache: BlockCache, state: State, *, may_skip: bool) -> tuple[State, int]:
    """One conditional pass under the cache, and how many blocks ran."""
    network, ran = denoiser(components, NONE, NONE), []
    hooks = [
        block.register_forward_hook(lambda module, args, output: ran.append(module))
        for block in components.transformer.transformer_blocks
    ]
    try:
        with torch.no_grad(), cache.watching(components.transformer, may_skip=may_skip):
            return network.passes(state, 0.5)["conditional"], len(ran)
    finally:
        for hook in hooks:
            hook.remove()


def test_the_same_input_is_answered_from_the_cache(components: Components) -> None:
    cache, state = BlockCache(0.05), state_for(components)
    exact = denoiser(components, NONE, NONE)
    with torch.no_grad():
        expected = exact.passes(state, 0.5)["conditional"]
    first, ran = asked(components, cache, state, may_skip=True)
    assert (same(first, expected), ran, cache.skips) == (True, 3, 0)
    again, ran = asked(components, cache, state, may_skip=True)
    assert (ran, cache.skips) == (1, 1)
    torch.testing.assert_close(again.video, expected.video, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.audio, expected.audio, atol=1e-5, rtol=0)
    other, ran = asked(components, cache, State(2 * state.video, state.audio), may_skip=True)
    assert (ran, cache.skips) == (3, 1)
    assert not same(other, expected)
    cache.clear()
    assert asked(components, cache, state, may_skip=True)[1] == 3


@pytest.mark.parametrize("moved", ["video", "audio"])
def test_both_streams_must_hold_still(components: Components, moved: str) -> None:
    cache, state = BlockCache(0.05), state_for(components)
    asked(components, cache, state, may_skip=True)
    assert asked(components, cache, replace(state, **{moved: -getattr(state, moved)}), may_skip=True)[1] == 3


def test_a_threshold_of_zero_and_a_step_that_may_not_skip_compute_everything(components: Components) -> None:
    state = state_for(components)
    for cache, may_skip in ((BlockCache(0.0), True), (BlockCache(1e9), False)):
        results = [asked(components, cache, state, may_skip=may_skip) for _ in range(2)]
        assert [ran for _, ran in results] == [3, 3]
        assert same(results[0][0], results[1][0])
        assert cache.skips == 0


def test_steps_between_full_ones_come_from_the_cache(components: Components) -> None:
    """At the same state and nearly the same level the first block holds still; the guided steps leave it alone."""
    guidance, state = Guidance(cfg=3, stg=1, modality=3), state_for(components)
    network = denoiser(components, guidance, guidance, acceleration="high", steps=10)
    with torch.no_grad():
        for sigma in (0.9, 0.8999, 0.8998, 0.7, 0.6999, 0.5):
            network(state, sigma)
    # Guided at 0.9, 0.7 and 0.5; the other three are conditional alone, and skipped.
    assert network.report == "acceleration high: 12 of 24 passes computed, 3 of 6 steps from cache"


@pytest.mark.parametrize("mode", ["sequential", "batched"])
def test_the_last_step_is_never_from_the_cache(components: Components, mode: str) -> None:
    network = denoiser(components, NONE, NONE, acceleration="full", steps=4, mode=mode)
    with torch.no_grad():
        for sigma in (0.9, 0.8999, 0.8998, 0.8997):
            network(state_for(components), sigma)
    assert network.report == "acceleration full: 2 of 4 passes computed, 2 of 4 steps from cache"
    assert len(components.transformer.transformer_blocks) == 3


def test_what_several_devices_may_use_has_no_block_cache() -> None:
    assert [regular_at_most(level) for level in LEVELS] == ["none", "regular", "regular", "regular"]
