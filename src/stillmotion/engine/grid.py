"""The latent grid of one stage, and where its tokens lie in time and space."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Grid:
    """Latent frames, rows and columns; and the video's frame rate as the position embedding sees it."""

    frames: int
    rows: int
    columns: int
    audio_frames: int
    fps: float

    @property
    def tokens(self) -> int:
        """Video tokens: those that are decoded, without the ones that keyframes append."""
        return self.frames * self.rows * self.columns

    def video_coords(self, transformer: Any, device: torch.device) -> Tensor:
        """(1, 3, tokens, 2): for each token the box it covers, in seconds, pixel rows and pixel columns."""
        coords: Tensor = transformer.rope.prepare_video_coords(
            1, self.frames, self.rows, self.columns, device, fps=self.fps
        )
        return coords

    def audio_coords(self, transformer: Any, device: torch.device) -> Tensor:
        """(1, 1, audio frames, 2): the seconds each audio token covers."""
        coords: Tensor = transformer.audio_rope.prepare_audio_coords(1, self.audio_frames, device)
        return coords
