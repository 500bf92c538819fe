"""Guidance: the formula, the passes it costs, and the perturbed pass that starts half-way."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import GRID, NEGATIVE, PROMPT, embed
from torch import Tensor

from stillmotion.engine import conditioning, perturbation
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser, Mode
from stillmotion.engine.grid import Grid
from stillmotion.engine.guidance import Pass, combine, needed
from stillmotion.engine.noise import gaussian
from stillmotion.engine.sampler import State
from stillmotion.job import Guidance

NONE = Guidance()
CPU = torch.device("cpu")
SIGMA = 0.7


def held_by(components: Components) -> conditioning.Conditioning:
    """A start image and an end image, both of fractional strength."""
    channels = components.transformer.config.in_channels
    image = torch.randn(1, GRID.rows * GRID.columns, channels, generator=torch.Generator().manual_seed(3))
    free = conditioning.free(GRID.video_coords(components.transformer, CPU), channels)
    return free.with_start(image, 0.6).with_keyframe(-image, 0.4, 16, GRID.fps)


def denoiser(
    components: Components,
    video: Guidance,
    audio: Guidance,
    *,
    stg_block: int = 1,
    mode: Mode = "sequential",
    timestep_per_token: bool = True,
) -> Denoiser:
    """With a timestep for every token, as ``by_hand`` has it: few rows are multiplied in another order than many."""
    positive, negative = embed(components, PROMPT), None
    if "negative" in needed(video, audio):
        negative = embed(components, NEGATIVE)
    return Denoiser(
        components.transformer,
        GRID,
        held_by(components),
        positive,
        negative,
        video=video,
        audio=audio,
        stg_block=stg_block,
        mode=mode,
        timestep_per_token=timestep_per_token,
    )


def state_for(components: Components) -> State:
    config = components.transformer.config
    tokens = GRID.tokens + GRID.rows * GRID.columns
    return State(
        gaussian(1, "video", (1, tokens, config.in_channels), CPU),
        gaussian(1, "audio", (1, GRID.audio_frames, config.audio_in_channels), CPU),
    )


def by_hand(components: Components, prompt: str, **switches: Any) -> State:
    """The clean estimate of one whole pass, asked of the network itself."""
    held, state, text = held_by(components), state_for(components), embed(components, prompt)
    level = torch.tensor([1000 * SIGMA])
    with torch.no_grad():
        video, audio = components.transformer(
            hidden_states=state.video,
            audio_hidden_states=state.audio,
            encoder_hidden_states=text.video,
            audio_encoder_hidden_states=text.audio,
            timestep=level[:, None] * held.mask[..., 0],
            audio_timestep=level,
            sigma=level,
            video_coords=held.coords,
            audio_num_frames=GRID.audio_frames,
            use_cross_timestep=True,
            return_dict=False,
            **switches,
        )
    return State(state.video - held.mask * SIGMA * video, state.audio - SIGMA * audio)


def same(left: State, right: State) -> bool:
    return torch.equal(left.video, right.video) and torch.equal(left.audio, right.audio)


@contextmanager
def evaluations(components: Components) -> Iterator[Counter[str]]:
    """Counts calls of the network, and samples through its blocks."""
    counts: Counter[str] = Counter()

    def count_call(module: Any, args: Any, kwargs: dict[str, Tensor]) -> None:
        counts["calls"] += 1

    def count_block(module: Any, args: Any, kwargs: dict[str, Tensor]) -> None:
        counts["blocks"] += len(kwargs["hidden_states"])

    with ExitStack() as hooks:
        network = components.transformer
        hooks.callback(network.register_forward_pre_hook(count_call, with_kwargs=True).remove)
        for block in network.transformer_blocks:
            hooks.callback(block.register_forward_pre_hook(count_block, with_kwargs=True).remove)
        yield counts


tensors = st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6).map(lambda values: torch.tensor([values]))
scales = st.floats(0, 10)


@given(c=tensors, u=tensors, s=tensors, d=tensors, cfg=scales, stg=scales, modality=scales)
def test_the_terms_add_up(c: Tensor, u: Tensor, s: Tensor, d: Tensor, cfg: float, stg: float, modality: float) -> None:
    estimates: dict[Pass, Tensor] = {"conditional": c, "negative": u, "perturbed": s, "isolated": d}
    guided = combine(estimates, Guidance(cfg=cfg, stg=stg, modality=modality))
    for i in range(6):
        base, others = float(c[0, i]), [float(other[0, i]) for other in (u, s, d)]
        weights = (cfg - 1, stg, modality - 1)
        expected = base + sum(weight * (base - other) for weight, other in zip(weights, others, strict=True))
        assert float(guided[0, i]) == pytest.approx(expected, abs=1e-3)


@given(seed=st.integers(0, 1000), rescale=st.floats(0, 1))
def test_rescaling_brings_the_deviation_back(seed: int, rescale: float) -> None:
    c, u = (torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(seed + i)) for i in range(2))
    plain = combine({"conditional": c, "negative": u}, Guidance(cfg=5))
    rescaled = combine({"conditional": c, "negative": u}, Guidance(cfg=5, rescale=rescale))

    def deviation(tensor: Tensor) -> float:
        values = tensor.flatten().tolist()
        mean = math.fsum(values) / len(values)
        return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))

    factor = rescale * deviation(c) / deviation(plain) + 1 - rescale
    torch.testing.assert_close(rescaled, plain * factor, atol=1e-5, rtol=1e-6)
    if rescale == 1:
        assert deviation(rescaled) == pytest.approx(deviation(c), rel=1e-5)


@pytest.mark.parametrize("guidance", [NONE, Guidance(rescale=0.7)])
def test_neutral_guidance_is_the_conditional_estimate_itself(guidance: Guidance) -> None:
    estimate = torch.randn(1, 5, 3)
    assert combine({"conditional": estimate}, guidance) is estimate
    others: dict[Pass, Tensor] = {"negative": -estimate, "perturbed": 2 * estimate, "isolated": 0 * estimate}
    assert combine({"conditional": estimate, **others}, guidance) is estimate


LAYERS = 3


@pytest.mark.parametrize("mode", ["sequential", "batched"])
@pytest.mark.parametrize("only", ["video", "audio"])
@pytest.mark.parametrize(
    ("guidance", "extra"),
    [
        (NONE, {}),
        (Guidance(rescale=0.7), {}),
        (Guidance(cfg=3), {"negative"}),
        (Guidance(cfg=0.5), {"negative"}),
        (Guidance(stg=1), {"perturbed"}),
        (Guidance(modality=3), {"isolated"}),
        (Guidance(modality=0), {"isolated"}),
        (Guidance(cfg=3, stg=1), {"negative", "perturbed"}),
        (Guidance(stg=1, modality=3), {"perturbed", "isolated"}),
        (Guidance(cfg=3, modality=3), {"negative", "isolated"}),
        (Guidance(cfg=3, stg=1, modality=3, rescale=0.7), {"negative", "perturbed", "isolated"}),
    ],
)
def test_exactly_the_needed_passes_are_computed(
    components: Components, mode: Mode, only: str, guidance: Guidance, extra: set[str]
) -> None:
    video, audio = (guidance, NONE) if only == "video" else (NONE, guidance)
    assert needed(video, audio) == {"conditional", *extra}
    network = denoiser(components, video, audio, stg_block=1, mode=mode)
    with evaluations(components) as counts, torch.no_grad():
        estimates = network.passes(state_for(components), SIGMA)
    assert estimates.keys() == {"conditional", *extra}
    passes = 1 + len(extra)
    if mode == "batched":
        assert counts["calls"] == 1 + ("isolated" in extra)
        assert counts["blocks"] == LAYERS * passes
    else:
        assert counts["calls"] == passes
        shared = 1 if "perturbed" in extra else 0  # the block before the perturbed one
        assert counts["blocks"] == LAYERS * passes - shared


@pytest.mark.parametrize("stg_block", [0, 1, 2])
def test_the_shared_prefix_changes_no_bit(components: Components, stg_block: int) -> None:
    both = Guidance(stg=1)
    network = denoiser(components, both, both, stg_block=stg_block)
    with evaluations(components) as counts, torch.no_grad():
        estimates = network.passes(state_for(components), SIGMA)
    assert counts["blocks"] == 2 * LAYERS - stg_block
    whole = by_hand(components, PROMPT, spatio_temporal_guidance_blocks=[stg_block])
    assert same(estimates["perturbed"], whole)
    assert same(estimates["conditional"], by_hand(components, PROMPT))
    assert not torch.allclose(whole.video, estimates["conditional"].video, atol=1e-4)
    # And the network is as it was.
    assert len(components.transformer.transformer_blocks) == LAYERS
    assert same(by_hand(components, PROMPT), estimates["conditional"])


def test_the_other_passes_are_the_networks_own(components: Components) -> None:
    everything = Guidance(cfg=3, stg=1, modality=3)
    expected: dict[Pass, State] = {
        "conditional": by_hand(components, PROMPT),
        "negative": by_hand(components, NEGATIVE),
        "perturbed": by_hand(components, PROMPT, spatio_temporal_guidance_blocks=[1]),
        "isolated": by_hand(components, PROMPT, isolate_modalities=True),
    }
    with torch.no_grad():
        sequential = denoiser(components, everything, everything).passes(state_for(components), SIGMA)
        batched = denoiser(components, everything, everything, mode="batched").passes(state_for(components), SIGMA)
    assert sequential.keys() == batched.keys() == expected.keys()
    for name, estimate in expected.items():
        assert same(sequential[name], estimate), name
        torch.testing.assert_close(batched[name].video, estimate.video, atol=1e-5, rtol=0)
        torch.testing.assert_close(batched[name].audio, estimate.audio, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["sequential", "batched"])
def test_a_scale_of_zero_leaves_that_modality_unperturbed(components: Components, mode: Mode) -> None:
    """Perturbing one modality is neither perturbing none nor perturbing both, and perturbing none is no change."""
    on = Guidance(stg=1)
    estimates = {}
    with torch.no_grad():
        for name, (video, audio) in {"both": (on, on), "video": (on, NONE), "audio": (NONE, on)}.items():
            network = denoiser(components, video, audio, stg_block=0, mode=mode)
            estimates[name] = network.passes(state_for(components), SIGMA)["perturbed"]
    conditional = by_hand(components, PROMPT)
    for perturbed, other in (("video", "audio"), ("audio", "video")):
        own, alone = getattr(estimates[perturbed], perturbed), getattr(conditional, perturbed)
        assert not torch.allclose(own, alone, atol=1e-4)
        assert not torch.allclose(getattr(estimates["both"], other), getattr(estimates[perturbed], other), atol=1e-5)
    with perturbation.perturbed(components.transformer.transformer_blocks[0], video=False, audio=False):
        assert same(by_hand(components, PROMPT), conditional)


@pytest.mark.parametrize(
    ("rows", "guidance", "calls", "blocks"),
    [
        (32, Guidance(cfg=3), 1, 2 * LAYERS),
        (33, Guidance(cfg=3), 1, 2 * LAYERS),
        (64, Guidance(cfg=3, stg=1), 1, 3 * LAYERS),
        (65, Guidance(cfg=3, stg=1), 3, 3 * LAYERS - 1),  # beyond 2048 tokens sharing blocks saves more
    ],
)
def test_small_canvases_are_batched(
    components: Components, rows: int, guidance: Guidance, calls: int, blocks: int
) -> None:
    grid = Grid(frames=1, rows=rows, columns=32, audio_frames=1, fps=24.0)
    config, texts = components.transformer.config, [embed(components, prompt) for prompt in (PROMPT, NEGATIVE)]
    held = conditioning.free(grid.video_coords(components.transformer, CPU), config.in_channels)
    network = Denoiser(components.transformer, grid, held, *texts, video=guidance, audio=NONE, stg_block=1, mode="auto")
    state = State(torch.zeros(1, grid.tokens, config.in_channels), torch.zeros(1, 1, config.audio_in_channels))
    with evaluations(components) as counts, torch.no_grad():
        network(state, SIGMA)
    assert (counts["calls"], counts["blocks"]) == (calls, blocks)


def test_the_video_term_alone_does_not_touch_the_unguided_sound(components: Components) -> None:
    video = Guidance(cfg=3, stg=1, modality=3, rescale=0.85)
    with torch.no_grad():
        guided = denoiser(components, video, NONE)(state_for(components), SIGMA)
    conditional = by_hand(components, PROMPT)
    assert torch.equal(guided.audio, conditional.audio)
    assert not torch.allclose(guided.video, conditional.video, atol=1e-3)


def test_an_error_inside_leaves_the_network_whole(components: Components) -> None:
    network, expected = components.transformer, by_hand(components, PROMPT)
    states: Mapping[str, Tensor] = {"hidden_states": torch.zeros(1, 2, 3)}
    with (
        pytest.raises(RuntimeError),
        perturbation.perturbed(network.transformer_blocks[1], video=True, audio=True),
        perturbation.resumed(network, 1, dict(states)),
    ):
        by_hand(components, PROMPT)
    assert same(by_hand(components, PROMPT), expected)


def test_a_missing_negative_prompt_is_told(components: Components) -> None:
    network = Denoiser(
        components.transformer,
        GRID,
        held_by(components),
        embed(components, PROMPT),
        None,
        video=replace(NONE, cfg=2),
        audio=NONE,
        stg_block=1,
    )
    with pytest.raises(ValueError, match="needs the negative prompt"), torch.no_grad():
        network(state_for(components), SIGMA)
