"""The steps between noise levels, with denoisers whose result is known in closed form."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stillmotion.engine import conditioning
from stillmotion.engine.noise import gaussian
from stillmotion.engine.sampler import Denoise, Noise, State, ancestral, euler, renewal, sample
from stillmotion.engine.schedule import levels, ltx2
from stillmotion.job import Schedule

CPU = torch.device("cpu")
SCHEDULES = st.sampled_from(["ltx2", "linear_quadratic", "beta"])


def free(tokens: int, channels: int) -> conditioning.Conditioning:
    return conditioning.free(torch.zeros(1, 3, tokens, 2), channels)


def run(
    denoise: Denoise,
    noise: Noise,
    sigmas: Sequence[float],
    held: conditioning.Conditioning,
    *,
    start: State | None = None,
    gamma: float = 0.0,
    eta: float = 0.0,
) -> State:
    return sample(
        denoise,
        noise,
        sigmas,
        held,
        start=start,
        gamma=gamma,
        eta=eta,
        on_step=lambda step: None,
        should_stop=lambda: False,
    )


@settings(max_examples=100, deadline=None)
@given(steps=st.integers(1, 7), strengths=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 100))
def test_a_refining_run_starts_from_the_noised_latents_and_the_images(
    steps: int, strengths: tuple[float, float], seed: int
) -> None:
    """x = lerp(c, lerp(z, eps, s), m), with z = 0 for the tokens that a keyframe appends."""
    video, audio = gaussian(seed, "video", (1, 8, 4), CPU), gaussian(seed, "audio", (1, 5, 3), CPU)
    start, end = gaussian(seed, "start", (1, 2, 4), CPU), gaussian(seed, "end", (1, 2, 4), CPU)
    held = free(6, 4).with_start(start, strengths[0]).with_keyframe(end, strengths[1], 8, 24.0)
    z = State(gaussian(seed, "z", (1, 6, 4), CPU), gaussian(seed, "sound", (1, 5, 3), CPU))
    padded = State(torch.cat((z.video, torch.zeros(1, 2, 4)), dim=1), z.audio)
    seen: list[State] = []

    def constant(state: State, sigma: float) -> State:
        seen.append(state)
        return padded

    sigmas = levels("distilled", steps)
    run(constant, once(video, audio), sigmas, held, start=padded)
    noisy, sound = ((1 - sigmas[0]) * a + sigmas[0] * b for a, b in ((padded.video, video), (z.audio, audio)))
    expected = torch.cat(
        (
            strengths[0] * start + (1 - strengths[0]) * noisy[:, :2],
            noisy[:, 2:6],
            strengths[1] * end + (1 - strengths[1]) * sigmas[0] * video[:, 6:],
        ),
        dim=1,
    )
    torch.testing.assert_close(seen[0].video, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[0].audio, sound, atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(1, 7), gamma=st.floats(0, 4), eta=st.floats(0, 1), seed=st.integers(0, 100))
def test_refining_towards_the_start_itself_gives_it_back(steps: int, gamma: float, eta: float, seed: int) -> None:
    """A denoiser that already finds the start perfect has nothing to change, whatever the method."""
    start = State(gaussian(seed, "z", (1, 6, 4), CPU), gaussian(seed, "sound", (1, 5, 3), CPU))

    def noise(step: int) -> State:
        return State(gaussian(seed, f"{step} a", (1, 6, 4), CPU), gaussian(seed, f"{step} b", (1, 5, 3), CPU))

    def perfect(state: State, sigma: float) -> State:
        assert (state.video - start.video).std() == pytest.approx(
            sigma * float((noise(0).video - start.video).std()), rel=1e-4
        ) or eta
        return start

    end = run(perfect, noise, levels("distilled", steps), free(6, 4), gamma=gamma, eta=eta, start=start)
    assert torch.equal(end.video, start.video)
    assert torch.equal(end.audio, start.audio)


def once(video: Tensor, audio: Tensor) -> Noise:
    return lambda step: State(video, audio)


def bent(state: State, sigma: float) -> State:
    """A velocity that depends on the noise level alone: 1 + 2 sigma^2 for the video, 3 sigma - 1 for the audio."""
    return State(state.video - sigma * (1 + 2 * sigma**2), state.audio - sigma * (3 * sigma - 1))


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(2, 20), seed=st.integers(0, 2**40), schedule=SCHEDULES, gamma=st.floats(0, 4))
def test_a_perfect_estimate_is_reached_along_a_straight_line(
    steps: int, seed: int, schedule: Schedule, gamma: float
) -> None:
    """Its velocity never changes, so gradient estimation has nothing to correct."""
    start = State(gaussian(seed, "video", (1, 6, 4), CPU), gaussian(seed, "audio", (1, 5, 3), CPU))
    truth = State(torch.full((1, 6, 4), 0.5), torch.full((1, 5, 3), -0.25))
    seen: list[State] = []

    def perfect(state: State, sigma: float) -> State:
        expected = sigma * start.video + (1 - sigma) * truth.video
        torch.testing.assert_close(state.video, expected, atol=1e-4, rtol=0)
        seen.append(state)
        return truth

    end = run(perfect, lambda step: start, levels(schedule, steps), free(6, 4), gamma=gamma)
    assert len(seen) == steps
    assert torch.equal(end.video, truth.video)
    assert torch.equal(end.audio, truth.audio)


@settings(max_examples=50, deadline=None)
@given(steps=st.integers(2, 20), schedule=SCHEDULES, gamma=st.floats(0, 4))
def test_gradient_estimation_sums_corrected_velocities(steps: int, schedule: Schedule, gamma: float) -> None:
    sigmas = levels(schedule, steps)
    end = run(bent, once(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), sigmas, free(1, 1), gamma=gamma)
    velocities: list[tuple[Tensor, Callable[[float], float]]] = [
        (end.video, lambda sigma: 1 + 2 * sigma**2),
        (end.audio, lambda sigma: 3 * sigma - 1),
    ]
    for result, velocity in velocities:
        expected, before = 0.0, None
        for sigma, next_sigma in pairwise(sigmas):
            now = velocity(sigma)
            used = now if before is None or not gamma or not next_sigma else gamma * (now - before) + before
            expected, before = expected + (next_sigma - sigma) * used, now
        assert float(result) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100), steps=st.integers(2, 12))
def test_a_gamma_of_one_and_of_zero_are_euler_to_the_bit(seed: int, steps: int) -> None:
    start = State(gaussian(seed, "video", (1, 6, 4), CPU), gaussian(seed, "audio", (1, 5, 3), CPU))

    def curved(state: State, sigma: float) -> State:
        return State(torch.tanh(state.video), torch.sin(state.audio))

    plain, one, two = (run(curved, lambda step: start, ltx2(steps), free(6, 4), gamma=gamma) for gamma in (0, 1, 2))
    assert torch.equal(plain.video, one.video)
    assert torch.equal(plain.audio, one.audio)
    if steps > 2:
        assert not torch.allclose(plain.video, two.video, atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(steps=st.integers(2, 20), schedule=SCHEDULES, eta=st.floats(0, 1))
def test_fresh_noise_keeps_signal_and_noise_in_the_flows_proportion(steps: int, schedule: Schedule, eta: float) -> None:
    """Each noise is a direction of its own and the truth another, so that every share can be read off."""

    def direction(index: int) -> Tensor:
        tensor = torch.zeros(1, 1, steps + 2)
        tensor[..., index] = 1
        return tensor

    truth, seen = State(direction(steps + 1), direction(steps + 1)), []

    def perfect(state: State, sigma: float) -> State:
        for tokens in (state.video, state.audio):
            assert float(tokens[0, 0, -1]) == pytest.approx(1 - sigma, abs=1e-5)
            assert float(tokens[0, 0, :-1].norm()) == pytest.approx(sigma, abs=1e-5)
        seen.append(state.video)
        return truth

    noise: Noise = lambda step: State(direction(step), direction(step))  # noqa: E731
    end = run(perfect, noise, levels(schedule, steps), free(1, steps + 2), eta=eta)
    assert torch.equal(end.video, truth.video)
    if eta > 0.1:
        assert all(float(state[0, 0, step]) > 0 for step, state in enumerate(seen))


@given(sigma=st.floats(0.01, 1), ratio=st.floats(0.01, 0.999), eta=st.floats(0, 1))
def test_the_variance_of_an_ancestral_step(sigma: float, ratio: float, eta: float) -> None:
    next_sigma = ratio * sigma
    amount = renewal(sigma, next_sigma, eta)
    assert amount.down == pytest.approx(next_sigma * (1 + (next_sigma / sigma - 1) * eta))
    assert amount.keep * (1 - amount.down) == pytest.approx(1 - next_sigma)
    assert (amount.keep * amount.down) ** 2 + amount.fresh**2 == pytest.approx(next_sigma**2)
    assert amount.down <= next_sigma * (1 + 1e-12)


def test_an_eta_of_zero_is_euler() -> None:
    state, clean, noise = (State(torch.randn(1, 4, 2), torch.randn(1, 3, 2)) for _ in range(3))
    plain, renewed = euler(state, clean, 0.8, 0.6), ancestral(state, clean, 0.8, 0.6, 0.0, noise)
    torch.testing.assert_close(renewed.video, plain.video, atol=1e-6, rtol=0)
    torch.testing.assert_close(renewed.audio, plain.audio, atol=1e-6, rtol=0)


def test_without_eta_no_noise_is_asked_for_after_the_start() -> None:
    asked: dict[float, list[int]] = {0.0: [], 0.25: []}
    for eta, steps in asked.items():

        def noise(step: int, steps: list[int] = steps) -> State:
            steps.append(step)
            return State(torch.ones(1, 1, 1), torch.ones(1, 1, 1))

        run(bent, noise, ltx2(4), free(1, 1), eta=eta)
    assert asked == {0.0: [0], 0.25: [0, 1, 2, 3]}


def test_both_together_start_the_noisy_step_from_the_corrected_estimate() -> None:
    sigmas, gamma, eta = [1.0, 0.8, 0.5, 0.0], 2.5, 0.4
    noises = [0.3, -1.2, 0.7]
    end = run(
        bent,
        lambda step: State(torch.full((1, 1, 1), noises[step]), torch.zeros(1, 1, 1)),
        sigmas,
        free(1, 1),
        gamma=gamma,
        eta=eta,
    )
    x, before = noises[0], None
    for step, (sigma, next_sigma) in enumerate(pairwise(sigmas), start=1):
        now = 1 + 2 * sigma**2
        used = now if before is None or not next_sigma else gamma * (now - before) + before
        clean, before = x - sigma * used, now
        if not next_sigma:
            x = clean
            break
        down = next_sigma * (1 + (next_sigma / sigma - 1) * eta)
        kept = (1 - next_sigma) / (1 - down)
        y = down / sigma * x + (1 - down / sigma) * clean
        x = kept * y + (next_sigma**2 - (down * kept) ** 2) ** 0.5 * noises[step]
    assert float(end.video) == pytest.approx(x, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(strength=st.floats(0, 1), steps=st.integers(2, 12))
def test_a_strength_mixes_the_image_into_every_estimate(strength: float, steps: int) -> None:
    """Against a denoiser that always says 2, a token held at 5 ends at the mixture, and a free one at 2."""
    image, noise = torch.full((1, 1, 1), 5.0), torch.tensor([[[0.7], [0.7]]])
    held = free(2, 1).with_start(image, strength)
    seen: list[State] = []

    def constant(state: State, sigma: float) -> State:
        seen.append(state)
        return State(torch.full_like(state.video, 2), torch.full_like(state.audio, 2))

    end = run(constant, once(noise, torch.zeros(1, 1, 1)), ltx2(steps), held)
    mixture = (1 - strength) * 2 + strength * 5
    assert float(seen[0].video[0, 0]) == pytest.approx((1 - strength) * 0.7 + strength * 5, abs=1e-5)
    assert end.video.flatten().tolist() == pytest.approx([mixture, 2], abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(strength=st.floats(0, 1), eta=st.floats(0.01, 1))
def test_fresh_noise_on_a_held_token_is_held_too(strength: float, eta: float) -> None:
    held = free(2, 1).with_start(torch.full((1, 1, 1), 5.0), strength)
    noise = State(torch.ones(1, 2, 1), torch.ones(1, 1, 1))
    seen: list[State] = []

    def constant(state: State, sigma: float) -> State:
        seen.append(state)
        return State(torch.full_like(state.video, 2), torch.full_like(state.audio, 2))

    run(constant, lambda step: noise, [1.0, 0.6, 0.0], held, eta=eta)
    clean = State(held.hold(torch.full((1, 2, 1), 2.0)), torch.full((1, 1, 1), 2.0))
    stepped = ancestral(seen[0], clean, 1.0, 0.6, eta, noise)
    expected = (1 - strength) * float(stepped.video[0, 0]) + strength * 5
    assert float(seen[1].video[0, 0]) == pytest.approx(expected, abs=1e-5)
    assert float(seen[1].video[0, 1]) == pytest.approx(float(stepped.video[0, 1]), abs=1e-6)


def test_a_euler_step_to_zero_is_the_estimate() -> None:
    state, clean = State(torch.tensor([3.0]), torch.tensor([0.1])), State(torch.tensor([0.7]), torch.tensor([0.3]))
    assert euler(state, clean, 0.1, 0.0) == clean
    half = euler(state, clean, 0.5, 0.25)
    torch.testing.assert_close(half.video, torch.tensor([1.85]))
