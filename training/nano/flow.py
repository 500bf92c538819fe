"""Flow matching: what the transformer is shown and asked, and how a clip is sampled from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

SHIFT = 3.0
"""Noise levels are drawn evenly and shifted towards noise, where the move is decided."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Latent frames, rows and columns, frames per second, latent frames of sound."""

    frames: int
    rows: int
    columns: int
    fps: float
    audio_frames: int

    @property
    def first(self) -> int:
        """Tokens of the first frame."""
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        return self.frames * self.first


@dataclass(frozen=True, slots=True)
class Texts:
    video: Tensor
    audio: Tensor


def coordinates(transformer: Any, grid: Grid, clips: int, device: torch.device, *, end_frame: float | None) -> Tensor:
    """Of the grid's tokens, then of the end image's, which are there for the one pixel frame ``end_frame``."""
    coords: Tensor = transformer.rope.prepare_video_coords(
        clips, grid.frames, grid.rows, grid.columns, device, fps=grid.fps
    )
    if end_frame is None:
        return coords
    last = coords[:, :, : grid.first].clone()
    last[:, 0, :, 0], last[:, 0, :, 1] = end_frame / grid.fps, (end_frame + 1) / grid.fps
    return torch.cat((coords, last), dim=2)


def velocity(
    transformer: Any,
    grid: Grid,
    video: Tensor,
    audio: Tensor,
    texts: Texts,
    levels: Tensor,
    coords: Tensor,
    sigma: Tensor,
    **switches: Any,
) -> tuple[Tensor, Tensor]:
    """Noise less data, of both. ``levels``: (clips, tokens) noise level of each; ``sigma``: (clips,) of the sound.

    ``switches``: what else the transformer is told.
    """
    scaled = sigma * 1000
    moved, sounded = transformer(
        hidden_states=video,
        audio_hidden_states=audio,
        encoder_hidden_states=texts.video,
        audio_encoder_hidden_states=texts.audio,
        timestep=levels * 1000,
        audio_timestep=scaled,
        sigma=scaled,
        audio_sigma=scaled,
        video_coords=coords,
        audio_coords=transformer.audio_rope.prepare_audio_coords(len(video), grid.audio_frames, video.device),
        use_cross_timestep=True,
        return_dict=False,
        **switches,
    )
    return moved.float(), sounded.float()


def shifted(uniform: Tensor) -> Tensor:
    return SHIFT * uniform / (1 + (SHIFT - 1) * uniform)


def steps(count: int) -> list[float]:
    """Noise levels from 1 to 0, shifted as in training."""
    return shifted(torch.linspace(1, 0, count + 1)).tolist()


@torch.no_grad()
def sample(
    transformer: Any, grid: Grid, first: Tensor, texts: Texts, noise: tuple[Tensor, Tensor], levels: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Clips whose first frame is ``first``, (clips, tokens of a frame, 128), and their sound."""
    video, audio = noise
    mask = torch.ones(video.shape[:2], device=video.device)
    mask[:, : grid.first] = 0
    video = video * mask[..., None]
    video[:, : grid.first] = first
    coords = coordinates(transformer, grid, len(video), video.device, end_frame=None)
    for now, after in pairwise(levels):
        sigma = torch.full((len(video),), now, device=video.device)
        moved, sounded = velocity(transformer, grid, video, audio, texts, mask * now, coords, sigma)
        video = video + (after - now) * moved * mask[..., None]
        audio = audio + (after - now) * sounded
    return video, audio
