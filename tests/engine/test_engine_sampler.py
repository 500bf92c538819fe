"""The loop, the image it holds and the guidance, against closed forms."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.engine import conditioning, text
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser, Grid
from stillmotion.engine.guidance import combine, needs_negative
from stillmotion.engine.sampler import State, Stopped, euler, gaussian, sample
from stillmotion.engine.schedule import ltx2
from stillmotion.job import Guidance

CPU = torch.device("cpu")
GRID = Grid(frames=2, rows=2, columns=3, audio_frames=10, fps=24.0)


def embed(components: Components, prompt: str) -> text.Embedding:
    return text.encode(
        prompt,
        tokenizer=components.tokenizer,
        text_encoder=components.text_encoder,
        connectors=components.connectors,
        max_sequence_length=256,
    )


def noise(components: Components, seed: int = 1) -> State:
    config = components.transformer.config
    return State(
        gaussian(seed, "video", (1, GRID.tokens, config.in_channels), CPU),
        gaussian(seed, "audio", (1, GRID.audio_frames, config.audio_in_channels), CPU),
    )


def run(components: Components, held: conditioning.Conditioning, sigmas: list[float]) -> State:
    guidance = Guidance(cfg=3)
    positive, negative = embed(components, "a robot"), embed(components, "blurry")
    denoiser = Denoiser(components.transformer, GRID, held.mask, positive, negative, video=guidance, audio=guidance)
    return sample(denoiser, noise(components), sigmas, held, on_step=lambda step: None, should_stop=lambda: False)


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(2, 20), seed=st.integers(0, 2**40))
def test_a_perfect_estimate_is_reached_along_a_straight_line(steps: int, seed: int) -> None:
    start = State(gaussian(seed, "video", (1, 6, 4), CPU), gaussian(seed, "audio", (1, 5, 3), CPU))
    truth = State(torch.full((1, 6, 4), 0.5), torch.full((1, 5, 3), -0.25))
    seen: list[State] = []

    def perfect(state: State, sigma: float) -> State:
        expected = sigma * start.video + (1 - sigma) * truth.video
        torch.testing.assert_close(state.video, expected, atol=1e-5, rtol=0)
        seen.append(state)
        return truth

    end = sample(
        perfect,
        start,
        ltx2(steps),
        conditioning.free(6, 4, CPU),
        on_step=lambda step: None,
        should_stop=lambda: False,
    )
    assert len(seen) == steps
    assert torch.equal(end.video, truth.video)
    assert torch.equal(end.audio, truth.audio)


def test_the_estimate_uses_each_tokens_own_noise_level(components: Components) -> None:
    sigma, strength = 0.6, 0.3
    image = torch.randn(1, GRID.rows * GRID.columns, 8, generator=torch.Generator().manual_seed(3))
    held = conditioning.start_image(image, strength, GRID.tokens)
    positive, state = embed(components, "a robot"), noise(components)
    transformer, plain = components.transformer, Guidance()
    denoiser = Denoiser(transformer, GRID, held.mask, positive, None, video=plain, audio=plain)
    level = torch.tensor([1000 * sigma])
    video, audio = transformer(
        hidden_states=state.video,
        audio_hidden_states=state.audio,
        encoder_hidden_states=positive.video,
        audio_encoder_hidden_states=positive.audio,
        timestep=level[:, None] * held.mask[..., 0],
        audio_timestep=level,
        sigma=level,
        num_frames=GRID.frames,
        height=GRID.rows,
        width=GRID.columns,
        fps=GRID.fps,
        audio_num_frames=GRID.audio_frames,
        use_cross_timestep=True,
        return_dict=False,
    )
    clean = denoiser(state, sigma)
    conditioned = GRID.rows * GRID.columns
    levels = torch.tensor([sigma * (1 - strength)] * conditioned + [sigma] * (GRID.tokens - conditioned))
    torch.testing.assert_close(clean.video, state.video - levels[:, None] * video, atol=1e-6, rtol=0)
    torch.testing.assert_close(clean.audio, state.audio - sigma * audio, atol=1e-6, rtol=0)
    assert (clean.video - (state.video - sigma * video)).abs().max() > 1e-2  # a scalar level would be another answer


def test_full_strength_keeps_the_image_bit_for_bit(components: Components) -> None:
    image = torch.randn(1, GRID.rows * GRID.columns, 8, generator=torch.Generator().manual_seed(3))
    held = conditioning.start_image(image, 1.0, GRID.tokens)
    clean = run(components, held, ltx2(3))
    assert torch.equal(clean.video[:, : image.shape[1]], image)
    assert not torch.equal(clean.video[:, image.shape[1] :], noise(components).video[:, image.shape[1] :])


def test_no_strength_is_no_image(components: Components) -> None:
    image = torch.randn(1, GRID.rows * GRID.columns, 8, generator=torch.Generator().manual_seed(3))
    without = run(components, conditioning.free(GRID.tokens, 8, CPU), ltx2(3))
    with_none = run(components, conditioning.start_image(image, 0.0, GRID.tokens), ltx2(3))
    assert torch.equal(with_none.video, without.video)
    assert torch.equal(with_none.audio, without.audio)


def test_more_strength_comes_closer_to_the_image(components: Components) -> None:
    image = torch.randn(1, GRID.rows * GRID.columns, 8, generator=torch.Generator().manual_seed(3))
    distances = []
    for strength in (0.0, 0.3, 0.7, 1.0):
        clean = run(components, conditioning.start_image(image, strength, GRID.tokens), ltx2(3))
        distances.append(float((clean.video[:, : image.shape[1]] - image).abs().mean()))
    assert all(far > near for far, near in pairwise(distances))


def test_the_text_mask_is_all_ones_so_none_is_passed(components: Components) -> None:
    tokenizer, text_encoder = components.tokenizer, components.text_encoder
    for prompt in ("", "a robot", "a robot " * 100):
        tokens = tokenizer(prompt, padding="max_length", max_length=256, truncation=True, return_tensors="pt")
        states = text_encoder(**tokens, output_hidden_states=True).hidden_states
        video, audio, mask = components.connectors(
            torch.stack(states, dim=-1), tokens.attention_mask, padding_side="left"
        )
        assert bool((mask == 1).all())
        own = embed(components, prompt)
        torch.testing.assert_close(own.video, video, atol=1e-6, rtol=0)
        torch.testing.assert_close(own.audio, audio, atol=1e-6, rtol=0)


@given(cfg=st.floats(0, 10), positive=st.floats(-3, 3), negative=st.floats(-3, 3))
def test_guidance_moves_away_from_the_negative(cfg: float, positive: float, negative: float) -> None:
    combined = combine(torch.tensor([positive]), torch.tensor([negative]), Guidance(cfg=cfg))
    assert float(combined) == pytest.approx(negative + cfg * (positive - negative), abs=1e-4)


def test_the_negative_pass_is_needed_when_any_modality_is_guided() -> None:
    assert not needs_negative(Guidance(), Guidance())
    assert needs_negative(Guidance(cfg=3), Guidance())
    assert needs_negative(Guidance(), Guidance(cfg=0.5))


def test_stops_between_two_steps() -> None:
    done: list[int] = []
    start = State(torch.ones(1, 2, 1), torch.ones(1, 2, 1))
    with pytest.raises(Stopped):
        sample(
            lambda state, sigma: state,
            start,
            ltx2(8),
            conditioning.free(2, 1, CPU),
            on_step=done.append,
            should_stop=lambda: len(done) == 3,
        )
    assert done == [1, 2, 3]


def test_noise_streams_are_independent_and_repeatable() -> None:
    first = gaussian(5, "video", (1, 40, 8), CPU)
    assert torch.equal(first, gaussian(5, "video", (1, 40, 8), CPU))
    assert not torch.equal(first, gaussian(5, "audio", (1, 40, 8), CPU))
    assert not torch.equal(first, gaussian(6, "video", (1, 40, 8), CPU))
    assert abs(float(first.mean())) < 0.2
    assert 0.8 < float(first.std()) < 1.2


def test_a_euler_step_to_zero_is_the_estimate() -> None:
    state, clean = State(torch.tensor([3.0]), torch.tensor([0.1])), State(torch.tensor([0.7]), torch.tensor([0.3]))
    assert euler(state, clean, 0.1, 0.0) == clean
    half = euler(state, clean, 0.5, 0.25)
    torch.testing.assert_close(half.video, torch.tensor([1.85]))
