"""The denoising loop: a state of video and sound stepped along a noise schedule."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from stillmotion.engine.conditioning import Conditioning


class Stopped(Exception):
    """The caller asked to stop between two steps."""


@dataclass(frozen=True, slots=True)
class State:
    """Latents of both modalities in fp32, as the network's tokens: each (1, tokens, channels)."""

    video: Tensor
    audio: Tensor


Denoise = Callable[[State, float], State]
"""From noisy latents and their noise level to the clean estimate of both modalities."""


def sample(
    denoise: Denoise,
    noise: State,
    sigmas: Sequence[float],
    conditioning: Conditioning,
    *,
    on_step: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> State:
    """Clean latents. ``sigmas`` run from 1 down to 0; ``on_step`` gets the steps done so far. Raises ``Stopped``."""
    state = State(conditioning.start(noise.video), noise.audio)
    for step, (sigma, next_sigma) in enumerate(pairwise(sigmas), start=1):
        if should_stop():
            raise Stopped
        clean = denoise(state, sigma)
        clean = State(conditioning.hold(clean.video), clean.audio)
        state = euler(state, clean, sigma, next_sigma)
        on_step(step)
    return state


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


def gaussian(seed: int, purpose: Literal["video", "audio"], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise in fp32.

    Each purpose has a stream of its own, so that a change to one (another size, an image) leaves the other's noise
    alone. The stream is drawn on the CPU: the same seed gives the same noise on every device.
    """
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(device)
