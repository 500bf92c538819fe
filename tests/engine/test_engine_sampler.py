"""The loop on the tiny networks: noise levels of its own for each token, images held, and where it stops."""

from itertools import combinations, pairwise

import pytest
import torch
from parity import embed
from torch import Tensor

from stillmotion.engine import conditioning
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.grid import Grid
from stillmotion.engine.noise import Noise, gaussian
from stillmotion.engine.sampler import State, Stopped, sample
from stillmotion.engine.schedule import ltx2
from stillmotion.job import Guidance

CPU = torch.device("cpu")
GRID = Grid(frames=2, rows=2, columns=3, audio_frames=10, fps=24.0)


def noise(components: Components, keyframes: int = 0) -> Noise:
    config = components.transformer.config
    return Noise(
        seed=1,
        video=(1, GRID.tokens, config.in_channels),
        audio=(1, GRID.audio_frames, config.audio_in_channels),
        keyframes=keyframes,
        device=CPU,
    )


def free(components: Components) -> conditioning.Conditioning:
    return conditioning.free(GRID.video_coords(components.transformer, CPU), components.transformer.config.in_channels)


def an_image(seed: int = 3) -> Tensor:
    return torch.randn(1, GRID.rows * GRID.columns, 8, generator=torch.Generator().manual_seed(seed))


def run(components: Components, held: conditioning.Conditioning, **method: float) -> State:
    guidance = Guidance(cfg=3)
    positive, negative = embed(components, "a robot"), embed(components, "blurry")
    denoiser = Denoiser(
        components.transformer, GRID, held, positive, negative, video=guidance, audio=guidance, stg_block=1
    )
    return sample(
        denoiser,
        noise(components, keyframes=held.mask.shape[1] - GRID.tokens),
        ltx2(3),
        held,
        **method,
        on_step=lambda step: None,
        should_stop=lambda: False,
    )


def test_the_estimate_uses_each_tokens_own_noise_level(components: Components) -> None:
    sigma, strength = 0.6, 0.3
    held = free(components).with_start(an_image(), strength)
    positive, state = embed(components, "a robot"), noise(components)(0)
    transformer, plain = components.transformer, Guidance()
    denoiser = Denoiser(transformer, GRID, held, positive, None, video=plain, audio=plain, stg_block=1)
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


METHODS = pytest.mark.parametrize("method", [{}, {"gamma": 2.0}, {"eta": 0.5}, {"gamma": 2.0, "eta": 0.5}], ids=str)


@METHODS
def test_full_strength_keeps_the_images_bit_for_bit(components: Components, method: dict[str, float]) -> None:
    start, end = an_image(3), an_image(4)
    held = free(components).with_start(start, 1.0).with_keyframe(end, 1.0, 8, GRID.fps)
    clean = run(components, held, **method)
    tokens = start.shape[1]
    assert torch.equal(clean.video[:, :tokens], start)
    assert torch.equal(clean.video[:, GRID.tokens :], end)
    free_tokens = slice(tokens, GRID.tokens)
    assert not torch.isclose(clean.video[:, free_tokens], noise(components)(0).video[:, free_tokens]).any()


@METHODS
def test_no_strength_is_no_start_image(components: Components, method: dict[str, float]) -> None:
    without = run(components, free(components), **method)
    with_none = run(components, free(components).with_start(an_image(), 0.0), **method)
    assert torch.equal(with_none.video, without.video)
    assert torch.equal(with_none.audio, without.audio)


def test_more_strength_comes_closer_to_the_image(components: Components) -> None:
    image, distances = an_image(), []
    for strength in (0.0, 0.3, 0.7, 1.0):
        clean = run(components, free(components).with_start(image, strength))
        distances.append(float((clean.video[:, : image.shape[1]] - image).abs().mean()))
    assert all(far > near for far, near in pairwise(distances))


def test_an_end_image_is_seen_through_its_strength(components: Components) -> None:
    """Its own tokens come closer to it, and those of the grid change with the image and with its place."""
    image, distances = an_image(), []
    for strength in (0.3, 0.7, 1.0):
        clean = run(components, free(components).with_keyframe(image, strength, 8, GRID.fps))
        distances.append(float((clean.video[:, GRID.tokens :] - image).abs().mean()))
    assert all(far > near for far, near in pairwise(distances))
    results = [
        run(components, held).video[:, : GRID.tokens]
        for held in (
            free(components),
            free(components).with_keyframe(image, 1.0, 8, GRID.fps),
            free(components).with_keyframe(image, 1.0, 1, GRID.fps),
            free(components).with_keyframe(an_image(4), 1.0, 8, GRID.fps),
        )
    ]
    for one, other in combinations(results, 2):
        assert (one - other).abs().max() > 1e-3


def test_a_keyframe_stands_where_its_frame_does(components: Components) -> None:
    """One pixel frame long at its own time, over the same rows and columns as any other latent frame."""
    image = an_image()
    plain = free(components)
    held = plain.with_keyframe(image, 0.75, 8, 24.0)
    tokens = image.shape[1]
    assert held.mask.shape == (1, GRID.tokens + tokens, 1)
    assert torch.equal(held.mask[:, : GRID.tokens], plain.mask)
    assert (held.mask[:, GRID.tokens :] == 0.25).all()
    assert torch.equal(held.clean[:, GRID.tokens :], image)
    own = held.coords[:, :, GRID.tokens :]
    torch.testing.assert_close(own[:, 0], torch.tensor([8 / 24, 9 / 24]).expand(1, tokens, 2))
    for last in (slice(0, tokens), slice(GRID.tokens - tokens, GRID.tokens)):
        assert torch.equal(own[:, 1:], held.coords[:, 1:, last])
    # The last latent frame of nine pictures is the second: it covers frames 1 to 8, and the keyframe the last of them.
    torch.testing.assert_close(held.coords[0, 0, GRID.tokens - 1], torch.tensor([1 / 24, 9 / 24]))


def test_an_end_image_leaves_all_other_noise_alone(components: Components) -> None:
    without, with_image = noise(components), noise(components, keyframes=6)
    for step in range(3):
        assert torch.equal(without(step).audio, with_image(step).audio)
        assert torch.equal(without(step).video, with_image(step).video[:, : GRID.tokens])
        own = with_image(step).video[:, GRID.tokens :]
        assert own.shape[1] == 6
        assert not torch.isclose(own, without(step).video[:, :6]).any()


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


def test_stops_between_two_steps() -> None:
    done: list[int] = []
    start = State(torch.ones(1, 2, 1), torch.ones(1, 2, 1))
    with pytest.raises(Stopped):
        sample(
            lambda state, sigma: state,
            lambda step: start,
            ltx2(8),
            conditioning.free(torch.zeros(1, 3, 2, 2), 1),
            on_step=done.append,
            should_stop=lambda: len(done) == 3,
        )
    assert done == [1, 2, 3]


def test_every_step_has_noise_of_its_own(components: Components) -> None:
    drawn = [state for step in range(3) for state in (noise(components)(step).video, noise(components)(step).audio)]
    for one, other in combinations([tensor.flatten()[:96] for tensor in drawn], 2):
        assert abs(float(torch.corrcoef(torch.stack((one, other)))[0, 1])) < 0.4


def test_noise_streams_are_independent_and_repeatable() -> None:
    first = gaussian(5, "video", (1, 40, 8), CPU)
    assert torch.equal(first, gaussian(5, "video", (1, 40, 8), CPU))
    assert not torch.equal(first, gaussian(5, "audio", (1, 40, 8), CPU))
    assert not torch.equal(first, gaussian(6, "video", (1, 40, 8), CPU))
    assert abs(float(first.mean())) < 0.2
    assert 0.8 < float(first.std()) < 1.2
