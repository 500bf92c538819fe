"""Networks whose videos are known in closed form, and requests computed with them.

A request goes the way of a real one: it is checked and planned, and the noise, images, positions, schedules, steps,
upsamplers and guidance are the engine's own. Only the passes of the network are replaced, by estimates that a line of
algebra follows to the end. These are in fp64, so that 1e-6 says something about the formulas.

What is expected is worked out here a second time, from the published formulas alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.engine.components import Components
from stillmotion.engine.conditioning import Conditioning, pack
from stillmotion.engine.guidance import Pass, combine, needed
from stillmotion.engine.noise import gaussian
from stillmotion.engine.sampler import Denoise, State
from stillmotion.engine.stages import Latents, StageRun
from stillmotion.job import Guidance, Job, Model, Stage

Picture = npt.NDArray[np.uint8]

LTX_2, LTX_2_3, B19, LORA, QUALITY = CATALOGUE.values()
OPEN = (B19, LORA, QUALITY)
"""The endpoints that name the parameters of the sampler."""

SEED = 11
MODEL = Model(
    name="m", family="ltx-2.3", upsamplers=("spatial_x2", "temporal_x2"), loras=("distilled", "dolly_left", "jib_up")
)
PICTURE = (140, 90)
"""Width and height of the pictures that requests are planned for."""

UNGUIDED = {
    f"{stream}_{name}_scale": value
    for stream in ("video", "audio")
    for name, value in {"cfg": 1, "stg": 0, "rescaling": 0, "modality": 1}.items()
}
PLAIN: Mapping[str, Mapping[str, Any]] = {
    B19.id: {"guidance_scale": 1, "use_multiscale": False},
    LORA.id: {**UNGUIDED, "scheduler": "ltx2", "use_restart_sampling": False, "use_multiscale": False},
    QUALITY.id: {"guidance_scale": 1},
}
"""Fields that turn everything off that can be: plain Euler steps of the conditional pass (quality: restart noise)."""


def plan(endpoint: Endpoint, *, model: Model = MODEL, image: tuple[int, int] = PICTURE, **fields: Any) -> Job:
    """Of the smallest request with ``fields``: 64x64 and 9 frames, 8 steps, plain."""
    known = endpoint.input.model_fields
    usual: dict[str, Any] = {
        "prompt": "a robot",
        "image_url": "data:,",
        "loras": [],
        "num_frames": 9,
        "num_inference_steps": 8,
        "resolution" if endpoint is QUALITY else "video_size": {"width": 64, "height": 64},
    }
    body = {name: value for name, value in usual.items() if name in known} | PLAIN.get(endpoint.id, {}) | fields
    request = endpoint.parse(body, Bounds())
    return endpoint.plan(request, {"image_url": image, "end_image_url": image}, SEED, model).job


@dataclass(frozen=True)
class Affine:
    """The estimate ``slope x + offset`` of the conditional pass; the other passes lie ``away`` below it.

    A pass in ``times`` has that multiple of the conditional estimate instead.
    """

    slope: float = 0.4
    offset: float = 0.25
    away: Mapping[Pass, float] = field(default_factory=dict)
    times: Mapping[Pass, float] = field(default_factory=dict)

    def __call__(self, tokens: Tensor, name: Pass) -> Tensor:
        estimate = self.slope * tokens.double() + self.offset
        return self.times.get(name, 1.0) * estimate - self.away.get(name, 0.0)


Network = Callable[[Stage], Denoise]


def affine(video: Affine, audio: Affine) -> Network:
    """Both modalities' estimates, each guided as the stage says, from the passes that it needs and no other."""

    def denoiser(stage: Stage) -> Denoise:
        passes = needed(stage.video, stage.audio)

        def guided(tokens: Tensor, model: Affine, guidance: Guidance) -> Tensor:
            return combine({name: model(tokens, name) for name in passes}, guidance)

        return lambda state, _: State(guided(state.video, video, stage.video), guided(state.audio, audio, stage.audio))

    return denoiser


PLAIN_NETWORK = affine(Affine(0.4, 0.25), Affine(-0.3, 0.5))


def bent(sigma: float) -> tuple[float, float]:
    """Velocities of video and audio that depend on the noise level alone."""
    return 1 + 2 * sigma**2, 3 * sigma - 1


def bent_network(stage: Stage) -> Denoise:
    return lambda state, sigma: State(
        state.video.double() - sigma * bent(sigma)[0], state.audio.double() - sigma * bent(sigma)[1]
    )


@dataclass(frozen=True)
class Run:
    """One stage that was computed."""

    stage: Stage
    held: Conditioning
    start: Latents | None
    states: Sequence[State]
    """What the network was given, step by step."""
    sigmas: Sequence[float]
    """At which noise levels, and the 0 at the end."""
    result: Latents

    @property
    def video(self) -> Tensor:
        """The result as tokens."""
        return pack(self.result.video)

    @property
    def audio(self) -> Tensor:
        return self.result.audio


def compute(job: Job, components: Components, images: Mapping[str, Picture], network: Network) -> list[Run]:
    """Every stage of ``job``; each later one starts from the video before it and the sound of the first."""
    runs: list[Run] = []
    for index, stage in enumerate(job.stages):
        staged = StageRun(job, index, components)
        held, start = staged.hold(images), None
        if runs:
            start = staged.enlarge(Latents(runs[-1].result.video.float(), runs[0].result.audio.float()))
        states: list[State] = []
        sigmas: list[float] = []
        denoise = network(stage)

        def seen(
            state: State,
            sigma: float,
            denoise: Denoise = denoise,
            states: list[State] = states,
            sigmas: list[float] = sigmas,
        ) -> State:
            states.append(state)
            sigmas.append(sigma)
            return denoise(state, sigma)

        result = staged.denoise(seen, held, start, on_step=lambda step: None, should_stop=lambda: False)
        runs.append(Run(stage, held, start, states, (*sigmas, 0.0), result))
    return runs


def noise(purpose: str, like: Tensor) -> Tensor:
    """What a request with the seed of ``plan`` draws for ``purpose``, in fp64."""
    return gaussian(SEED, purpose, tuple(like.shape), like.device).double()


def end(
    start: Tensor,
    sigmas: Sequence[float],
    model: Affine,
    *,
    mask: float = 1.0,
    clean: Tensor | float = 0.0,
    eta: float = 0.0,
    fresh: Sequence[Tensor] = (),
) -> Tensor:
    """Where the steps lead from ``start`` by the estimate ``m (slope x + offset) + (1 - m) clean``.

    Without ``eta``: every estimate pulls towards the fixed point ``r``, so what remains of the distance to it is
    ``slope`` (the last step) times ``slope + (1 - slope) s'/s`` for each step before. With it: ``fresh`` is what each
    step but the last puts in.
    """
    slope, offset = mask * model.slope, mask * model.offset + (1 - mask) * clean
    if not eta:
        rest = offset / (1 - slope)
        left = slope * math.prod(slope + (1 - slope) * low / high for high, low in pairwise(sigmas[:-1]))
        return rest + left * (start - rest)
    x = start
    for (sigma, following), drawn in zip(pairwise(sigmas[:-1]), fresh, strict=True):
        down = following * (1 + (following / sigma - 1) * eta)
        keep = (1 - following) / (1 - down)
        stepped = keep * (down / sigma * x + (1 - down / sigma) * (slope * x + offset))
        x = mask * (stepped + math.sqrt(following**2 - (keep * down) ** 2) * drawn) + (1 - mask) * clean
    return slope * x + offset


def levels(schedule: str, steps: int) -> list[float]:
    """The schedules as they are published, written in another way than the engine's."""
    u = [1 - i / steps for i in range(steps)]
    if schedule == "ltx2":
        mu = 0.95 + (4096 - 1024) * (2.05 - 0.95) / 3072
        shifted = [math.exp(mu) / (math.exp(mu) + 1 / level - 1) for level in u]
        return [1 - (1 - level) * 0.9 / (1 - shifted[-1]) for level in shifted] + [0.0]
    if schedule == "linear_quadratic":
        k = steps // 2
        a = (k - 0.025 * steps) / (k * (steps - k) ** 2)
        b = 0.025 / k - 2 * (k - 0.025 * steps) / (steps - k) ** 2
        c = a * k**2
        falls = [i * 0.025 / k if i < k else a * i**2 + b * i + c for i in range(steps)]
        return [1 - fall for fall in falls] + [0.0]
    assert schedule == "beta"
    indices = [round(_beta_quantile(level) * 9999) for level in u]
    return [math.exp(2.37) / (math.exp(2.37) + 10000 / (index + 1) - 1) for index in indices] + [0.0]


def _beta_quantile(probability: float) -> float:
    """Of Beta(0.6, 0.6): its distribution at x is the integral of ``(1 - t^(1/0.6))^-0.4`` to x^0.6, over that to 1."""
    if probability == 0.5:  # of 8 levels one is the median, which rounding must not tip over
        return 0.5
    if probability > 0.5:
        return 1 - _beta_quantile(1 - probability)
    t = np.linspace(0, 0.5**0.6, 200_001)
    density = (1 - t ** (1 / 0.6)) ** -0.4
    area = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2)))
    return float(np.interp(probability, area / area[-1] / 2, t) ** (1 / 0.6))
