"""Work that is not done twice: that it is saved, by counting, and that the output is the same."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import GRID, NEGATIVE, PROMPT, embed
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stillmotion.engine import conditioning
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.noise import gaussian
from stillmotion.engine.sampler import State
from stillmotion.engine.timestep_embedding import Modulation, runs_of
from stillmotion.job import Family, Guidance

EVERYTHING = Guidance(cfg=3, stg=1, modality=3)
CFG = Guidance(cfg=3)
PLAIN = Guidance()
CPU = torch.device("cpu")
SIGMAS = (1.0, 0.7, 0.4)
LAYERS = 3
POSITIONS = ("rope", "audio_rope", "cross_attn_rope", "cross_attn_audio_rope")


def held_by(components: Components, *, start: float = 0.6, end: float = 0.4) -> conditioning.Conditioning:
    channels = components.transformer.config.in_channels
    image = torch.randn(1, GRID.rows * GRID.columns, channels, generator=torch.Generator().manual_seed(3))
    free = conditioning.free(GRID.video_coords(components.transformer, CPU), channels)
    return free.with_start(image, start).with_keyframe(-image, end, 16, GRID.fps)


def denoiser(components: Components, guidance: Guidance, **options: Any) -> Denoiser:
    options = {"mode": "sequential", "stg_block": 1, "held": held_by(components)} | options
    return Denoiser(
        components.transformer,
        GRID,
        options.pop("held"),
        embed(components, PROMPT),
        embed(components, NEGATIVE),
        video=guidance,
        audio=guidance,
        **options,
    )


def state_for(components: Components, seed: int = 1) -> State:
    config = components.transformer.config
    tokens = GRID.tokens + GRID.rows * GRID.columns
    return State(
        gaussian(seed, "video", (1, tokens, config.in_channels), CPU),
        gaussian(seed, "audio", (1, GRID.audio_frames, config.audio_in_channels), CPU),
    )


def run(components: Components, network: Denoiser) -> list[State]:
    with torch.no_grad():
        return [network(state_for(components, seed), sigma) for seed, sigma in enumerate(SIGMAS)]


@contextmanager
def calls(components: Components) -> Iterator[Counter[str]]:
    """How often each module of the network is asked."""
    counts: Counter[str] = Counter()

    def counting(name: str) -> Any:
        def count(module: nn.Module, args: Any, output: Any) -> None:
            counts[name] += 1

        return count

    with ExitStack() as hooks:
        for name, module in components.transformer.named_modules():
            hooks.callback(module.register_forward_hook(counting(name)).remove)
        yield counts


def flops(components: Components, network: Denoiser, steps: int = 1) -> list[int]:
    found = []
    for seed, sigma in zip(range(steps), SIGMAS, strict=False):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(state_for(components, seed), sigma)
        found.append(counter.get_total_flops())
    return found


def close(left: list[State], right: list[State], tolerance: float = 1e-5) -> None:
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one.video, other.video, atol=tolerance, rtol=0)
        torch.testing.assert_close(one.audio, other.audio, atol=tolerance, rtol=0)


def equal(left: list[State], right: list[State]) -> bool:
    pairs = [(one.video, other.video) for one, other in zip(left, right, strict=True)]
    pairs += [(one.audio, other.audio) for one, other in zip(left, right, strict=True)]
    return all(torch.equal(one, other) for one, other in pairs)


def test_positions_are_computed_once_in_a_run(components: Components) -> None:
    network = denoiser(components, EVERYTHING)
    with calls(components) as counts:
        run(components, network)
    assert {name: counts[name] for name in POSITIONS} == dict.fromkeys(POSITIONS, 1)
    assert counts["proj_in"] == 4 * len(SIGMAS)


def test_modulation_is_computed_once_in_a_step(components: Components, family: Family) -> None:
    network = denoiser(components, EVERYTHING)
    names = ["time_embed", "audio_time_embed", "av_cross_attn_video_scale_shift", "av_cross_attn_audio_v2a_gate"]
    names += ["prompt_adaln", "audio_prompt_adaln"] if family == "ltx-2.3" else []
    with calls(components) as counts:
        run(components, network)
    assert {name: counts[name] for name in names} == dict.fromkeys(names, len(SIGMAS))


@pytest.mark.parametrize("mode", ["sequential", "batched"])
def test_the_text_of_ltx_2_is_read_once_in_a_run(components_of_both: list[Components], mode: str) -> None:
    components = components_of_both[0]
    network = denoiser(components, CFG, mode=mode)
    with calls(components) as counts:
        run(components, network)
    batches = 2 if mode == "sequential" else 1  # the two prompts, alone or together
    assert counts["caption_projection"] == counts["audio_caption_projection"] == batches
    for block in range(LAYERS):
        for name in ("attn2.to_k", "attn2.to_v", "audio_attn2.to_k", "audio_attn2.to_v"):
            assert counts[f"transformer_blocks.{block}.{name}"] == batches
        assert counts[f"transformer_blocks.{block}.attn2.to_q"] == batches * len(SIGMAS)


def test_the_text_of_ltx_2_3_is_read_once_in_a_step_by_passes_that_share_it(
    components_of_both: list[Components],
) -> None:
    components = components_of_both[1]
    with calls(components) as counts:
        run(components, denoiser(components, EVERYTHING))
    # The prompt for the conditional, the perturbed and the isolated pass; the negative prompt for its own.
    assert counts["transformer_blocks.2.attn2.to_k"] == 2 * len(SIGMAS)
    assert counts["transformer_blocks.2.audio_attn2.to_v"] == 2 * len(SIGMAS)
    assert counts["transformer_blocks.2.attn2.to_q"] == 4 * len(SIGMAS)


def test_without_text_keys_nothing_of_the_text_is_kept(components: Components) -> None:
    with calls(components) as counts:
        run(components, denoiser(components, CFG, text_keys=False))
    assert counts["transformer_blocks.1.attn2.to_k"] == 2 * len(SIGMAS)


def test_the_first_blocks_attention_is_shared(components: Components) -> None:
    """All passes but the perturbed, which starts further on, are given the same state; three of four the same text."""
    with calls(components) as counts:
        run(components, denoiser(components, EVERYTHING))
    steps = len(SIGMAS)
    assert counts["transformer_blocks.0.attn1"] == counts["transformer_blocks.0.audio_attn1"] == steps
    assert counts["transformer_blocks.0.attn2"] == counts["transformer_blocks.0.audio_attn2"] == 2 * steps
    assert counts["transformer_blocks.1.attn1"] == 4 * steps
    with calls(components) as counts:  # where the first block is the perturbed one, it is each pass's own
        run(components, denoiser(components, EVERYTHING, stg_block=0))
    assert counts["transformer_blocks.0.attn1"] == 4 * steps


@pytest.mark.parametrize("stg_block", [0, 1, 2])
@pytest.mark.parametrize("mode", ["sequential", "batched"])
def test_what_is_shared_changes_nothing(components: Components, mode: str, stg_block: int) -> None:
    """Against runs in which each step has a memory of its own, that holds nothing but one call's answers."""
    options = {"mode": mode, "stg_block": stg_block, "timestep_per_token": True}
    shared = run(components, denoiser(components, EVERYTHING, **options))
    apart = []
    for seed, sigma in enumerate(SIGMAS):
        estimates = {}
        for name in ("conditional", "negative", "perturbed", "isolated"):
            alone = denoiser(components, EVERYTHING, text_keys=False, **options)
            with torch.no_grad():
                estimates[name] = alone.passes(state_for(components, seed), sigma, {"conditional", name})[name]
        apart.append(estimates)
    with torch.no_grad():
        network = denoiser(components, EVERYTHING, **options)
        each = [network.passes(state_for(components, seed), sigma) for seed, sigma in enumerate(SIGMAS)]
    for together, alone in zip(each, apart, strict=True):
        for name, estimate in alone.items():
            close([together[name]], [estimate])
            if mode == "sequential":
                assert equal([together[name]], [estimate]), name
    assert equal(run(components, denoiser(components, EVERYTHING, **options)), shared)


def test_the_arithmetic_saved_is_counted(components: Components) -> None:
    saving = flops(components, denoiser(components, EVERYTHING), 3)
    plain = flops(components, denoiser(components, EVERYTHING, text_keys=False, timestep_per_token=True), 3)
    assert all(one < other for one, other in zip(saving, plain, strict=True))
    assert saving[1] == saving[2] <= saving[0]


def test_a_run_of_tokens_is_modulated_as_one(components: Components) -> None:
    """One row for the start image, one for the free tokens, one for the end image, and no other result."""
    rows: list[int] = []
    linear = components.transformer.time_embed.linear
    with ExitStack() as hooks:
        hooks.callback(linear.register_forward_hook(lambda module, args, output: rows.append(len(output))).remove)
        compressed = run(components, denoiser(components, EVERYTHING))
        few, rows[:] = list(rows), []
        each = run(components, denoiser(components, EVERYTHING, timestep_per_token=True))
    assert few == [3] * len(SIGMAS)
    assert rows == [GRID.tokens + GRID.rows * GRID.columns] * len(SIGMAS)
    close(compressed, each)


@pytest.mark.parametrize(("start", "end", "runs"), [(0.0, 0.0, 1), (1.0, 0.0, 2), (0.6, 0.6, 3), (0.0, 0.5, 2)])
def test_levels_that_are_equal_and_adjacent_are_one(
    components: Components, start: float, end: float, runs: int
) -> None:
    held = held_by(components, start=start, end=end)
    assert len(runs_of(held.mask).lengths) == runs
    assert sum(runs_of(held.mask).lengths) == held.mask.shape[1]
    expected = run(components, denoiser(components, CFG, held=held, timestep_per_token=True))
    close(run(components, denoiser(components, CFG, held=held)), expected)


lengths = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@given(lengths=lengths, batch=st.integers(1, 2), seed=st.integers(0, 100))
def test_a_modulation_is_what_it_stands_for(lengths: tuple[int, ...], batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(batch, len(lengths), 6, generator=generator)
    table = torch.randn(1, 1, 2, 3, generator=generator)
    tokens = torch.randn(batch, sum(lengths), 3, generator=generator)
    short, long = Modulation(rows, lengths), Modulation(rows, lengths).written_out()
    assert long.shape == (batch, sum(lengths), 6) == tuple(short.shape)

    def applied(modulation: Any) -> Tensor:
        scale, shift = (table + modulation.reshape(batch, modulation.shape[1], 2, -1)).unbind(dim=2)
        result: Tensor = tokens * (1 + scale) + shift
        return result

    assert torch.equal(applied(short), applied(long))


def test_no_text_mask_is_given(components: Components) -> None:
    seen: list[Any] = []

    def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs.get("attention_mask"))

    with ExitStack() as hooks:
        for block in components.transformer.transformer_blocks:
            for attention in (block.attn2, block.audio_attn2):
                hooks.callback(attention.register_forward_pre_hook(look, with_kwargs=True).remove)
        run(components, denoiser(components, CFG))
    assert seen
    assert all(mask is None for mask in seen)


def test_the_network_is_as_it_was_afterwards(components: Components) -> None:
    before = dict(components.transformer.named_modules())
    network = denoiser(components, EVERYTHING)
    run(components, network)
    with pytest.raises(RuntimeError), torch.no_grad():
        network(State(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)), 0.5)
    after = dict(components.transformer.named_modules())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
