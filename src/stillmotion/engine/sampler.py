"""The denoising loop: a state of video and sound stepped along a noise schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from stillmotion.engine.conditioning import Conditioning

RESTART_ETA = 0.25
"""What ``Stage.restart`` means in numbers: "a small amount of noise" is the least that published LTX-2 workflows use
(0.25; others 0.5 and 1). At noise level 0.6 it replaces 0.26 of the 0.6."""


class Stopped(Exception):
    """The caller asked to stop between two steps."""


@dataclass(frozen=True, slots=True)
class State:
    """Latents of both modalities in fp32, as the network's tokens: each (1, tokens, channels)."""

    video: Tensor
    audio: Tensor


Denoise = Callable[[State, float], State]
"""From noisy latents and their noise level to the clean estimate of both modalities."""

Noise = Callable[[int], State]
"""Standard normal noise: for 0 what the run starts from, for step n (from 1) what ``eta`` puts in after it."""


def sample(
    denoise: Denoise,
    noise: Noise,
    sigmas: Sequence[float],
    conditioning: Conditioning,
    *,
    start: State | None = None,
    gamma: float = 0.0,
    eta: float = 0.0,
    on_step: Callable[[int], None],
    should_stop: Callable[[], bool],
    on_estimate: Callable[[State], None] | None = None,
) -> State:
    """Clean latents. ``sigmas`` fall to 0; ``on_step`` gets the steps done so far. Raises ``Stopped``.

    ``on_estimate`` gets the clean estimate that each step went towards, before ``on_step``, and must not write to it.

    ``start``: what is refined, see ``noised``; ``None`` where the first of ``sigmas`` is 1, which leaves nothing of it.
    ``gamma``: weight of gradient estimation, see ``_Gradient``; 0 is off. ``eta``: share of each step's noise that is
    fresh, see ``ancestral``; 0 is none. With both, the step starts from the estimate that ``gamma`` gave.
    """
    gradient = _Gradient(gamma)
    state = noise(0) if start is None else noised(start, noise(0), sigmas[0])
    state = State(conditioning.hold(state.video), state.audio)
    for step, (sigma, next_sigma) in enumerate(pairwise(sigmas), start=1):
        if should_stop():
            raise Stopped
        clean = denoise(state, sigma)
        clean = State(conditioning.hold(clean.video), clean.audio)
        if next_sigma > 0:  # the last step is the estimate itself
            clean = gradient.corrected(state, clean, sigma)
        if next_sigma > 0 and eta:
            state = ancestral(state, clean, sigma, next_sigma, eta, noise(step))
            state = State(conditioning.hold(state.video), state.audio)
        else:
            state = euler(state, clean, sigma, next_sigma)
        if on_estimate is not None:
            on_estimate(clean)
        on_step(step)
    return state


def noised(clean: State, noise: State, sigma: float) -> State:
    """``(1 - sigma) clean + sigma noise``: where the flow is at level ``sigma`` on its way from noise to ``clean``."""
    return State(torch.lerp(clean.video, noise.video, sigma), torch.lerp(clean.audio, noise.audio, sigma))


def euler(state: State, clean: State, sigma: float, next_sigma: float) -> State:
    """One Euler step of the flow ODE ``dx/dsigma = (x - x0) / sigma``, to ``x0 + sigma'/sigma (x - x0)``.

    In this form the last step (``next_sigma`` 0) gives the clean estimate exactly, and a token that already equals
    it stays bit for bit.
    """
    ratio = next_sigma / sigma
    return State(
        clean.video + ratio * (state.video - clean.video),
        clean.audio + ratio * (state.audio - clean.audio),
    )


def ancestral(state: State, clean: State, sigma: float, next_sigma: float, eta: float, noise: State) -> State:
    """An Euler step further down than ``next_sigma``, and fresh noise back up to it.

    ``down = sigma' (1 + (sigma'/sigma - 1) eta)``, ``y`` the Euler step to it, then ``x' = r y + c noise`` with
    ``r = (1 - sigma')/(1 - down)`` and ``c^2 = sigma'^2 - (r down)^2``: signal ``1 - sigma'`` and noise ``sigma'``
    again, as the flow asks. Needs ``0 < next_sigma < sigma <= 1``. ``eta=0`` is ``euler``.
    """
    amount = renewal(sigma, next_sigma, eta)
    down = euler(state, clean, sigma, amount.down)
    return State(
        amount.keep * down.video + amount.fresh * noise.video,
        amount.keep * down.audio + amount.fresh * noise.audio,
    )


@dataclass(frozen=True, slots=True)
class Renewal:
    """Scalars of one ancestral step: the level stepped down to, and the weights of what is kept and of fresh noise."""

    down: float
    keep: float
    fresh: float


def renewal(sigma: float, next_sigma: float, eta: float) -> Renewal:
    """See ``ancestral``."""
    down = next_sigma * (1 + (next_sigma / sigma - 1) * eta)
    keep = (1 - next_sigma) / (1 - down)
    # Rounding may bring the difference of equal squares just below 0.
    return Renewal(down, keep, max(0.0, next_sigma**2 - (keep * down) ** 2) ** 0.5)


class _Gradient:
    """Gradient estimation (Permenter and Yuan 2023): the velocity is corrected by its change since the last step.

    With ``v = (x - x0)/sigma`` the step follows ``gamma (v - v') + v'``, ``v'`` being the uncorrected velocity of the
    step before; as a clean estimate that is ``x0 - sigma (gamma - 1)(v - v')``, in which ``gamma=1`` changes nothing.
    """

    def __init__(self, gamma: float) -> None:
        self._gamma = gamma
        self._last: State | None = None

    def corrected(self, state: State, clean: State, sigma: float) -> State:
        if self._gamma in (0, 1):
            return clean
        velocity = State((state.video - clean.video) / sigma, (state.audio - clean.audio) / sigma)
        last, self._last = self._last, velocity
        if last is None:
            return clean
        factor = sigma * (self._gamma - 1)
        return State(
            clean.video - factor * (velocity.video - last.video),
            clean.audio - factor * (velocity.audio - last.audio),
        )
