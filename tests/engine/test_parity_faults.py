"""Where diffusers' LTX-2 pipeline departs from the published formulas: its value, and the one that follows from them.

test_engine_parity.py shows that nothing else differs.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import calculate_shift
from parity import (
    AUDIO,
    FAULTS,
    FPS,
    FRAMES,
    GRID,
    HEIGHT,
    NEGATIVE,
    PROMPT,
    SEED,
    VIDEO,
    WIDTH,
    Case,
    difference,
    embed,
    ours,
    scheduler,
    theirs,
)
from torch import Tensor

from stillmotion.engine import conditioning, schedule
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.sampler import State
from stillmotion.job import Family, Guidance

Picture = npt.NDArray[np.uint8]
EACH = GRID.rows * GRID.columns


@pytest.mark.parametrize("name", ["stg", "rescale", "modality"])
def test_an_audio_scale_of_zero_is_the_videos(components: Components, picture: Picture, name: str) -> None:
    """``audio_stg_scale or stg_scale``: what comes out is what the video's scale would give for the sound."""
    zero = Case(audio=replace(AUDIO, **{"stg": 6, name: 0}), start=1.0, end=None, video=replace(VIDEO, rescale=0.5))
    replaced = replace(zero, audio=replace(zero.audio, **{name: getattr(zero.video, name)}))
    # With STG for both streams there is no stream to leave out.
    stock = theirs(components, picture, zero, faults=("zero", "streams") if name == "stg" else ("zero",))
    assert max(difference(ours(components, picture, replaced), stock)) <= 1e-5
    assert max(difference(ours(components, picture, zero), stock)) > 1e-3


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_a_modality_scale_below_one_is_none(components: Components, picture: Picture, scale: float) -> None:
    """By the formula it is a step towards the isolated pass: at 0 the estimate is that pass itself."""
    below = Case(video=Guidance(modality=scale), audio=Guidance(modality=scale), start=1.0, end=None)
    stock = theirs(components, picture, below, faults=("threshold",))
    none = replace(below, video=Guidance(), audio=Guidance())
    assert max(difference(ours(components, picture, none), stock)) <= 1e-5
    assert max(difference(ours(components, picture, below), stock)) > 1e-3
    denoiser, state = denoiser_of(components, below.video), state_of(components)
    with torch.no_grad():
        passes, guided = denoiser.passes(state, 0.7), denoiser_of(components, below.video)(state, 0.7)
    for own, c, d in zip(
        *((s.video, s.audio) for s in (guided, passes["conditional"], passes["isolated"])), strict=True
    ):
        torch.testing.assert_close(own, scale * c + (1 - scale) * d, atol=1e-6, rtol=0)


def of_known_velocity(components: Components) -> Components:
    """The same networks but for the transformer's last layers, which say 0.5 for pictures and -0.25 for sound."""
    transformer = copy.deepcopy(components.transformer)
    with torch.no_grad():
        for layer, velocity in ((transformer.proj_out, 0.5), (transformer.audio_proj_out, -0.25)):
            layer.weight.zero_()
            layer.bias.fill_(velocity)
    return replace(components, transformer=transformer)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.7, 1.0])
def test_a_held_tokens_noise_level(components: Components, picture: Picture, strength: float) -> None:
    """``x0 = x - m s v`` against diffusers' ``x - s v``, along the whole way of a flow whose velocity is 0.5."""
    known, case = of_known_velocity(components), Case(video=Guidance(), audio=Guidance(), start=strength, end=None)
    image = conditioning.encode(known.vae, conditioning.fit(picture, WIDTH, HEIGHT)).double()
    drawn = torch.randn(1, GRID.tokens, 8, generator=torch.Generator().manual_seed(SEED)).double()
    mask = 1 - strength

    def held(level: float) -> Tensor:
        """The first latent frame, its estimates taken at ``level`` times the noise level."""
        x = mask * drawn[:, :EACH] + strength * image
        for sigma, following in pairwise(case.sigmas):
            clean = mask * (x - level * sigma * 0.5) + strength * image
            x = clean + following / sigma * (x - clean)
        return x

    free = drawn[:, EACH:] - 0.5  # a straight line
    for result, level in (
        (ours(known, picture, case), mask),
        (theirs(known, picture, case, faults=FAULTS), 1.0),
    ):
        tokens = (result[0] - conditioning.channelwise(known.vae.latents_mean, result[0])) / conditioning.channelwise(
            known.vae.latents_std, result[0]
        )
        expected = torch.cat((held(level), free), dim=1)
        torch.testing.assert_close(conditioning.pack(tokens).double(), expected, atol=3e-6, rtol=0)
    apart = float((held(mask) - held(1.0)).abs().max())
    assert (apart > 0.01) is (0 < strength < 1)


def test_the_place_of_an_end_image(components: Components, picture: Picture) -> None:
    """Of 17 pictures diffusers puts the last at the time of the tenth."""
    seen: list[Tensor] = []

    def record(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["video_coords"])

    case = Case(video=Guidance(), audio=Guidance(), start=None, end=1.0)
    handle = components.transformer.register_forward_pre_hook(record, with_kwargs=True)
    try:
        ours(components, picture, case)
        own = seen[0]
        theirs(components, picture, case, faults=("position",))
        other = seen[-1]
    finally:
        handle.remove()
    assert own.shape == other[:1].shape
    torch.testing.assert_close(own[:, :, : GRID.tokens], other[:1, :, : GRID.tokens], atol=1e-6, rtol=0)
    for coords, frame in ((own, FRAMES - 1), (other, FRAMES - 8)):
        times = coords[0, 0, GRID.tokens :]
        expected = torch.tensor([frame / FPS, (frame + 1) / FPS]).expand(EACH, 2)
        torch.testing.assert_close(times.float(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("tokens", "mu"), [(3520, 1.8438), (8160, 3.5052), (14080, 5.625), (32640, 12.2708)])
def test_the_shift_of_a_schedule(tokens: int, mu: float) -> None:
    """It grows with the canvas and is not clamped; the published recipes' is that of 4096 tokens at every size."""
    steps = 15
    shift = calculate_shift(tokens, 1024, 4096, 0.95, 2.05)
    assert shift == pytest.approx(mu, abs=1e-4)
    stock = scheduler(stock=True)
    stock.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)
    # In float32, in which the levels of the largest canvas differ from 1 by a few units of the last place.
    precision = 1e-3 if tokens > 20_000 else 1e-5
    assert stock.sigmas.tolist() == pytest.approx(schedule.ltx2(steps, tokens), abs=precision)
    own = schedule.levels("ltx2", steps)
    assert own[1] == pytest.approx(0.9872, abs=5e-5)
    assert (float(stock.sigmas[steps // 2]) - own[steps // 2] > 0.05) is (tokens > 4096)


def denoiser_of(components: Components, guidance: Guidance) -> Denoiser:
    held = conditioning.free(GRID.video_coords(components.transformer, torch.device("cpu")), 8)
    texts = [embed(components, prompt) for prompt in (PROMPT, NEGATIVE)]
    return Denoiser(
        components.transformer, GRID, held, *texts, video=guidance, audio=guidance, stg_block=1, mode="sequential"
    )


def state_of(components: Components) -> State:
    generator = torch.Generator().manual_seed(1)
    config = components.transformer.config
    return State(
        torch.randn(1, GRID.tokens, config.in_channels, generator=generator),
        torch.randn(1, GRID.audio_frames, config.audio_in_channels, generator=generator),
    )


@contextmanager
def attention_of(block: Any) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Input and output of the self-attention of each modality, call by call."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {"video": [], "audio": []}

    def record(stream: str) -> Any:
        return lambda module, args, kwargs, output: calls[stream].append((kwargs["hidden_states"], output))

    hooks = [
        module.register_forward_hook(record(stream), with_kwargs=True)
        for stream, module in (("video", block.attn1), ("audio", block.audio_attn1))
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def values_alone(attention: Any, states: Tensor) -> Tensor:
    """What perturbed attention is: the value projection, gated where there are gates, through the output layer."""
    values = attention.to_v(states)
    if attention.to_gate_logits is not None:
        gates = 2 * torch.sigmoid(attention.to_gate_logits(states))
        values = (values.unflatten(2, (attention.heads, -1)) * gates[..., None]).flatten(2)
    return attention.to_out[0](values)  # type: ignore[no-any-return]


def test_stg_perturbs_the_stream_that_is_guided(components: Components) -> None:
    """The other one's attention is whole; diffusers' own argument perturbs both."""
    block = components.transformer.transformer_blocks[1]
    video_alone = Denoiser(
        components.transformer,
        GRID,
        conditioning.free(GRID.video_coords(components.transformer, torch.device("cpu")), 8),
        embed(components, PROMPT),
        None,
        video=Guidance(stg=1),
        audio=Guidance(),
        stg_block=1,
        mode="sequential",
    )
    with torch.no_grad():
        with attention_of(block) as calls:
            video_alone.passes(state_of(components), 0.7)
        with attention_of(block) as stock:
            by_diffusers(components.transformer, state_of(components), embed(components, PROMPT))
        (_, _), (states, perturbed) = calls["video"]
        torch.testing.assert_close(perturbed, values_alone(block.attn1, states), atol=1e-6, rtol=0)
        (first, whole), (again, sound) = calls["audio"]
        assert torch.equal(first, again)  # the blocks before are shared
        assert torch.equal(sound, whole)
        assert not torch.allclose(sound, values_alone(block.audio_attn1, again), atol=1e-4)
        for stream, attention in (("video", block.attn1), ("audio", block.audio_attn1)):
            ((states, perturbed),) = stock[stream]
            torch.testing.assert_close(perturbed, values_alone(attention, states), atol=1e-6, rtol=0)


def by_diffusers(transformer: Any, state: State, text: Any) -> None:
    level = torch.tensor([700.0])
    transformer(
        hidden_states=state.video,
        audio_hidden_states=state.audio,
        encoder_hidden_states=text.video,
        audio_encoder_hidden_states=text.audio,
        timestep=level,
        sigma=level,
        num_frames=GRID.frames,
        height=GRID.rows,
        width=GRID.columns,
        audio_num_frames=GRID.audio_frames,
        fps=FPS,
        spatio_temporal_guidance_blocks=[1],
        return_dict=False,
    )


def test_as_published_ltx_2_has_no_perturbed_attention(
    bundles: Mapping[Family, Path], loaded: Mapping[Family, Components]
) -> None:
    """Its configuration leaves it out: the pass is a second conditional one. Loaded by us it is the values alone."""
    published = LTX2VideoTransformer3DModel.from_pretrained(bundles["ltx-2"] / "transformer")
    state, text = state_of(loaded["ltx-2"]), embed(loaded["ltx-2"], PROMPT)
    with torch.no_grad():
        for transformer, perturbs in ((published, False), (loaded["ltx-2"].transformer, True)):
            block = transformer.transformer_blocks[1]
            with attention_of(block) as calls:
                by_diffusers(transformer, state, text)
            ((states, output),) = calls["video"]
            assert torch.allclose(output, values_alone(block.attn1, states), atol=1e-6) is perturbs
