"""Random numbers: a stream for every purpose, all derived from one seed."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from stillmotion.engine.sampler import State


def gaussian(seed: int, purpose: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise in fp32.

    Each purpose has a stream of its own, so that a change to one (another size, an image) leaves the other's noise
    alone. The stream is drawn on the CPU: the same seed gives the same noise on every device.
    """
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The noise of one denoising run; a ``sampler.Noise``. ``stage``: each run of a job has streams of its own.

    ``video`` and ``audio`` are the shapes of a state's tokens without ``keyframes``, the number of tokens appended to
    the video. These draw from streams of their own: an end image changes neither the video's noise nor the audio's.
    """

    seed: int
    video: tuple[int, int, int]
    audio: tuple[int, int, int]
    keyframes: int
    device: torch.device
    stage: int = 0

    def __call__(self, step: int) -> State:
        moment = (f"stage {self.stage} " if self.stage else "") + (f"step {step} " if step else "")
        video = self._draw(f"{moment}video", self.video)
        if self.keyframes:
            appended = self._draw(f"{moment}keyframes", (self.video[0], self.keyframes, self.video[2]))
            video = torch.cat((video, appended), dim=1)
        return State(video, self._draw(f"{moment}audio", self.audio))

    def _draw(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return gaussian(self.seed, purpose, shape, self.device)
