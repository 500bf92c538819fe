"""Each sampling parameter of a request against the closed form of the result that it must have, to 1e-6.

test_parameter_table.py says which test proves which parameter.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from analytic import (
    B19,
    LORA,
    OPEN,
    PLAIN_NETWORK,
    QUALITY,
    Affine,
    Network,
    Run,
    affine,
    bent,
    bent_network,
    compute,
    end,
    levels,
    noise,
    plan,
)
from torch import Tensor

from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.engine import conditioning
from stillmotion.engine.components import Components
from stillmotion.engine.guidance import needed
from stillmotion.engine.noise import gaussian
from stillmotion.engine.sampler import RESTART_ETA
from stillmotion.job import Family

Picture = npt.NDArray[np.uint8]

VIDEO, AUDIO = Affine(0.4, 0.25), Affine(-0.3, 0.5)
"""What ``PLAIN_NETWORK`` estimates."""

every_open_endpoint = pytest.mark.parametrize("endpoint", OPEN, ids=lambda endpoint: endpoint.id)


@pytest.fixture(scope="module")
def components(loaded: Mapping[Family, Components]) -> Components:
    return loaded["ltx-2.3"]


@pytest.fixture(scope="module")
def images(picture: Picture) -> dict[str, Picture]:
    return {"image_url": picture, "end_image_url": np.ascontiguousarray(picture[::-1, ::-1])}


class Made:
    """Requests computed on one set of components; the last stage of each."""

    def __init__(self, components: Components, images: Mapping[str, Picture]) -> None:
        self._components, self._images = components, images

    def all(self, endpoint: Endpoint, network: Network = PLAIN_NETWORK, **fields: Any) -> list[Run]:
        return compute(plan(endpoint, **fields), self._components, self._images, network)

    def __call__(self, endpoint: Endpoint, network: Network = PLAIN_NETWORK, **fields: Any) -> Run:
        return self.all(endpoint, network, **fields)[-1]

    def latents(self, image: str, side: int = 64) -> Tensor:
        pixels = conditioning.fit(self._images[image], side, side)
        return conditioning.encode(self._components.vae, pixels).double()


@pytest.fixture(scope="module")
def made(components: Components, images: Mapping[str, Picture]) -> Made:
    return Made(components, images)


def near(value: Tensor, expected: Tensor) -> None:
    """To 1e-6 of the largest value, 1 at least."""
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-6 * scale)


def same(one: Run, other: Run) -> bool:
    return torch.equal(one.video, other.video) and torch.equal(one.audio, other.audio)


def fresh(purpose: str, like: Tensor, steps: int) -> list[Tensor]:
    return [noise(f"step {step} {purpose}", like) for step in range(1, steps)]


# Images


@every_open_endpoint
@pytest.mark.parametrize("strength", [0, 0.3, 0.7, 1])
def test_the_strength_of_the_start_image(made: Made, endpoint: Endpoint, strength: float) -> None:
    run = made(endpoint, image_strength=strength)
    each = 2 * 2
    eta = RESTART_ETA if endpoint is QUALITY else 0.0
    drawn, sigmas = noise("video", run.video), levels("ltx2", 8)
    renewed = fresh("video", run.video, 8) if eta else []
    image = made.latents("image_url")
    first = end(
        (1 - strength) * drawn[:, :each] + strength * image,
        sigmas,
        VIDEO,
        mask=1 - strength,
        clean=image,
        eta=eta,
        fresh=[each_step[:, :each] for each_step in renewed],
    )
    rest = end(drawn[:, each:], sigmas, VIDEO, eta=eta, fresh=[each_step[:, each:] for each_step in renewed])
    near(run.video, torch.cat((first, rest), dim=1))
    if strength == 1:
        assert torch.equal(run.video[:, :each], image)
    if strength == 0:  # not even its tokens differ
        assert (run.held.mask == 1).all()


@pytest.mark.parametrize("strength", [0, 0.4, 1])
@pytest.mark.parametrize("endpoint", [B19, LORA], ids=lambda endpoint: endpoint.id)
def test_the_strength_of_the_end_image(made: Made, endpoint: Endpoint, strength: float) -> None:
    """Its tokens are appended and follow their own closed form; no other token, and no other noise, is touched."""
    run = made(endpoint, end_image_url="data:,", end_image_strength=strength)
    without = made(endpoint)
    assert same(run, without)
    tokens = run.video.shape[1]
    if strength == 0:
        assert run.states[0].video.shape[1] == tokens
        return
    image, sigmas = made.latents("end_image_url"), levels("ltx2", 8)
    held = run.states[0].video[:, tokens:]
    near(held, (1 - strength) * noise("keyframes", image) + strength * image)
    appended = run.states[-1].video[:, tokens:]
    last = (1 - strength) * VIDEO(appended, "conditional") + strength * image
    near(last, end(held.double(), sigmas, VIDEO, mask=1 - strength, clean=image))
    if strength == 1:
        assert all(torch.equal(state.video[:, tokens:].double(), image) for state in run.states)


@pytest.mark.parametrize("endpoint", [B19, LORA], ids=lambda endpoint: endpoint.id)
def test_the_direction_of_interpolation(made: Made, endpoint: Endpoint) -> None:
    """Backward, the start image is what the video leads to; each keeps its strength."""
    fields = {"end_image_url": "data:,", "image_strength": 0.6, "end_image_strength": 1}
    run = made(endpoint, interpolation_direction="backward", **fields)
    tokens = run.video.shape[1]
    assert torch.equal(run.video[:, :4], made.latents("end_image_url"))
    start = made.latents("image_url")
    near(run.states[0].video[:, tokens:], 0.4 * noise("keyframes", start) + 0.6 * start)
    assert same(made(endpoint, interpolation_direction="forward", **fields), made(endpoint, **fields))


def test_backward_without_an_end_image_leads_to_the_start_image(made: Made) -> None:
    run = made(LORA, interpolation_direction="backward")
    near(run.video, end(noise("video", run.video), levels("ltx2", 8), VIDEO))
    assert torch.equal(run.states[0].video[:, run.video.shape[1] :].double(), made.latents("image_url"))


# Schedules and steps


@pytest.mark.parametrize("steps", [8, 15, 50])
@pytest.mark.parametrize("schedule", ["ltx2", "linear_quadratic", "beta"])
def test_the_schedule_and_the_number_of_steps(made: Made, schedule: str, steps: int) -> None:
    run = made(LORA, bent_network, image_strength=0, scheduler=schedule, num_inference_steps=steps)
    check_steps(run, levels(schedule, steps))


@pytest.mark.parametrize(("endpoint", "steps"), [(B19, 8), (B19, 40), (QUALITY, 2), (QUALITY, 30)])
def test_the_number_of_steps_where_the_schedule_is_ltx2(made: Made, endpoint: Endpoint, steps: int) -> None:
    run = made(endpoint, bent_network, image_strength=0, num_inference_steps=steps)
    assert run.sigmas == pytest.approx(levels("ltx2", steps), abs=1e-9)
    if endpoint is B19:
        check_steps(run, levels("ltx2", steps))


def check_steps(run: Run, sigmas: list[float]) -> None:
    """A velocity that depends on the noise level alone adds up to a sum over the levels."""
    assert run.sigmas == pytest.approx(sigmas, abs=1e-9)
    for index, (purpose, result) in enumerate((("video", run.video), ("audio", run.audio))):
        way = sum((low - high) * bent(high)[index] for high, low in pairwise(sigmas))
        near(result, noise(purpose, result) + way)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 10])
def test_gradient_estimation(made: Made, gamma: float) -> None:
    run = made(LORA, bent_network, image_strength=0, gradient_estimation_gamma=gamma)
    sigmas = levels("ltx2", 8)
    for index, (purpose, result) in enumerate((("video", run.video), ("audio", run.audio))):
        velocities = [bent(sigma)[index] for sigma in sigmas[:-1]]
        used = velocities[:1] + [gamma * (now - last) + last for last, now in pairwise(velocities)]
        used[-1] = velocities[-1]  # the last step is the estimate itself
        way = sum(
            (low - high) * v for (high, low), v in zip(pairwise(sigmas), used if gamma else velocities, strict=True)
        )
        near(result, noise(purpose, result) + way)
    if gamma in (0, 1):
        assert same(run, made(LORA, bent_network, image_strength=0))


@pytest.mark.parametrize("restart", [False, True])
def test_restart_sampling(made: Made, restart: bool) -> None:
    run = made(LORA, image_strength=0, use_restart_sampling=restart)
    for purpose, result, model in (("video", run.video, VIDEO), ("audio", run.audio, AUDIO)):
        eta = 0.25 if restart else 0.0
        renewed = fresh(purpose, result, 8) if restart else []
        near(result, end(noise(purpose, result), levels("ltx2", 8), model, eta=eta, fresh=renewed))


def test_restart_noise_without_any_is_the_plain_step(made: Made) -> None:
    """``end`` says the same of an eta of 0 by both of its formulas."""
    run = made(LORA, image_strength=0, use_restart_sampling=False)
    nothing = [torch.zeros_like(run.video)] * 7
    start = noise("video", run.video)
    near(end(start, levels("ltx2", 8), VIDEO, eta=1e-12, fresh=nothing), end(start, levels("ltx2", 8), VIDEO))


# Guidance

AWAY = {"negative": 0.2, "perturbed": -0.15, "isolated": 0.1}
GUIDED = affine(Affine(0.4, 0.25, AWAY), Affine(-0.3, 0.5, {name: -2 * value for name, value in AWAY.items()}))
TERMS = {
    "video_cfg_scale": (1, "negative"),
    "video_stg_scale": (0, "perturbed"),
    "video_modality_scale": (1, "isolated"),
    "audio_cfg_scale": (1, "negative"),
    "audio_stg_scale": (0, "perturbed"),
    "audio_modality_scale": (1, "isolated"),
}
"""Where each scale is neutral, and the pass that it is about."""


def check_guidance(run: Run, scales: Mapping[str, float], sigmas: list[float]) -> None:
    pushes = {"video": 0.0, "audio": 0.0}
    for name, scale in scales.items():
        neutral, about = TERMS[name]
        stream = name.partition("_")[0]
        pushes[stream] += (scale - neutral) * AWAY[about] * (1 if stream == "video" else -2)
    near(run.video, end(noise("video", run.video), sigmas, Affine(0.4, 0.25 + pushes["video"])))
    near(run.audio, end(noise("audio", run.audio), sigmas, Affine(-0.3, 0.5 + pushes["audio"])))


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("distance", [0, 0.5, 4])
def test_each_scale_of_guidance(made: Made, name: str, distance: float) -> None:
    neutral, about = TERMS[name]
    scale = neutral + distance
    run = made(LORA, GUIDED, image_strength=0, **{name: scale})
    check_guidance(run, {name: scale}, levels("ltx2", 8))
    plain = made(LORA, PLAIN_NETWORK, image_strength=0)
    passes = needed(run.stage.video, run.stage.audio)
    if distance:
        assert passes == {"conditional", about}
        # A scale of one modality is none of the other's business.
        video = name.startswith("video")
        assert torch.equal(run.video, plain.video) is not video
        assert torch.equal(run.audio, plain.audio) is video
    else:
        assert passes == {"conditional"}
        assert same(run, plain)


@pytest.mark.parametrize("name", ["video_modality_scale", "audio_modality_scale"])
def test_a_modality_scale_of_zero_goes_to_the_isolated_pass(made: Made, name: str) -> None:
    run = made(LORA, GUIDED, image_strength=0, **{name: 0})
    check_guidance(run, {name: 0}, levels("ltx2", 8))


def test_all_scales_together(made: Made) -> None:
    """The document's own; the audio's STG scale of 0 means 0 beside the video's 1."""
    fields = {"video_cfg_scale": 3, "video_stg_scale": 1, "video_modality_scale": 3}
    fields |= {"audio_cfg_scale": 7, "audio_stg_scale": 0, "audio_modality_scale": 3}
    check_guidance(made(LORA, GUIDED, image_strength=0, **fields), fields, levels("ltx2", 8))


@pytest.mark.parametrize("scale", [1, 1.5, 10])
def test_one_guidance_scale_for_both_modalities(made: Made, scale: float) -> None:
    run = made(B19, GUIDED, image_strength=0, guidance_scale=scale)
    check_guidance(run, {"video_cfg_scale": scale, "audio_cfg_scale": scale}, levels("ltx2", 8))
    if scale == 1:
        assert same(run, made(B19, PLAIN_NETWORK, image_strength=0))


def test_the_guidance_scale_of_the_quality_endpoint(made: Made) -> None:
    run = made(QUALITY, GUIDED, image_strength=0, guidance_scale=4)
    expected = end(
        noise("video", run.video),
        levels("ltx2", 8),
        Affine(0.4, 0.25 + 3 * AWAY["negative"]),
        eta=0.25,
        fresh=fresh("video", run.video, 8),
    )
    near(run.video, expected)
    assert needed(made(QUALITY, GUIDED).stage.video, made(QUALITY, GUIDED).stage.audio) == {"conditional"}


@pytest.mark.parametrize("stream", ["video", "audio"])
@pytest.mark.parametrize("rescale", [0, 0.3, 1])
def test_rescaling(made: Made, stream: str, rescale: float) -> None:
    """Where the negative pass is a multiple of the conditional one, guidance multiplies it, and so its deviation."""
    model, times = Affine(0.4, 0.0), 0.5
    network = affine(*(Affine(0.4, 0.0, times={"negative": times}),) * 2)
    fields = {f"{stream}_cfg_scale": 3, f"{stream}_rescaling_scale": rescale}
    run = made(LORA, network, image_strength=0, **fields)
    factor = 1 + (3 - 1) * (1 - times)
    slope = model.slope * (rescale + (1 - rescale) * factor)
    result = run.video if stream == "video" else run.audio
    near(result, end(noise(stream, result), levels("ltx2", 8), Affine(slope, 0.0)))
    if rescale == 0:
        assert same(run, made(LORA, network, image_strength=0, **{f"{stream}_cfg_scale": 3}))


@pytest.mark.parametrize("stream", ["video", "audio"])
def test_rescaling_without_guidance_is_nothing(made: Made, stream: str) -> None:
    assert same(made(LORA, **{f"{stream}_rescaling_scale": 1}), made(LORA))


# Two scales


@pytest.mark.parametrize("endpoint", [B19, LORA], ids=lambda endpoint: endpoint.id)
@pytest.mark.parametrize("strength", [0, 0.7])
def test_two_scales(made: Made, endpoint: Endpoint, strength: float) -> None:
    """Half of each side, doubled, noised to the schedule's first level and refined; the sound stays the first's."""
    large = {"video_size": {"width": 128, "height": 128}, "image_strength": strength}
    first, second = made.all(endpoint, use_multiscale=True, **large)
    (single,) = made.all(endpoint, use_multiscale=False, **large)
    assert [(run.stage.width, run.stage.height) for run in (first, second, single)] == [
        (64, 64),
        (128, 128),
        (128, 128),
    ]
    assert second.sigmas == (0.909375, 0.725, 0.421875, 0.0)
    assert second.start is not None
    z, drawn = conditioning.pack(second.start.video).double(), noise("stage 1 video", second.video)
    image = made.latents("image_url", 128)
    each = image.shape[1]
    mask = torch.ones(1, z.shape[1], 1, dtype=torch.float64)
    mask[:, :each] = 1 - strength
    held = torch.cat((image, torch.zeros_like(z[:, each:])), dim=1)
    begun = mask * ((1 - 0.909375) * z + 0.909375 * drawn) + (1 - mask) * held
    near(second.states[0].video, begun)
    expected = torch.cat(
        (
            end(begun[:, :each], second.sigmas, VIDEO, mask=1 - strength, clean=image),
            end(begun[:, each:], second.sigmas, VIDEO),
        ),
        dim=1,
    )
    near(second.video, expected)
    sound = first.audio.double()
    near(second.states[0].audio, (1 - 0.909375) * sound + 0.909375 * noise("stage 1 audio", sound))
    # One scale is one stage on the whole canvas, whatever could have stood before it.
    near(single.video[:, each:], end(noise("video", single.video)[:, each:], levels("ltx2", 8), VIDEO))


# Seeds


@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1])
def test_the_seed_is_that_of_every_stream(components: Components, images: Mapping[str, Picture], seed: int) -> None:
    """Pictures and sound have streams of their own, which an end image and a second scale leave alone."""
    size = {"video_size": {"width": 128, "height": 128}, "image_strength": 0}
    jobs = [
        plan(LORA, **size, use_multiscale=True),
        plan(LORA, **size, use_multiscale=True, end_image_url="data:,", end_image_strength=0.5),
    ]
    plain, held = (compute(replace(job, seed=seed), components, images, PLAIN_NETWORK) for job in jobs)
    for index, (one, other) in enumerate(zip(plain, held, strict=True)):
        tokens = one.video.shape[1]
        assert torch.equal(one.states[0].audio, other.states[0].audio)
        assert torch.equal(one.states[0].video, other.states[0].video[:, :tokens])
        if not index:
            drawn = gaussian(seed, "video", tuple(one.video.shape), one.video.device)
            assert torch.equal(one.states[0].video, drawn)
            assert torch.equal(one.states[0].audio, gaussian(seed, "audio", tuple(one.audio.shape), one.audio.device))
