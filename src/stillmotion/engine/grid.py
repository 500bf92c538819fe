"""The latent grid of one stage, and where its tokens lie in time and space."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from stillmotion.job import Job, Stage


@dataclass(frozen=True, slots=True)
class Grid:
    """Latent frames, rows and columns; and the video's frame rate as the position embedding sees it."""

    frames: int
    rows: int
    columns: int
    audio_frames: int
    fps: float

    @classmethod
    def of(cls, stage: Stage, vae: Any, audio_frames: int) -> Self:
        """The grid that ``vae`` makes of a stage's pixels and frames."""
        return cls(
            frames=(stage.num_frames - 1) // vae.temporal_compression_ratio + 1,
            rows=stage.height // vae.spatial_compression_ratio,
            columns=stage.width // vae.spatial_compression_ratio,
            audio_frames=audio_frames,
            fps=stage.fps,
        )

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


def audio_frames(job: Job, audio_vae: Any) -> int:
    """Latent frames of sound that last as long as the delivery and every stage; the same number in each of these.

    A stage of half the frame rate lasts one frame longer than the stage that doubles it, and both refine the same
    sound.
    """
    config = audio_vae.config
    seconds = max(job.num_frames / job.fps, *(stage.num_frames / stage.fps for stage in job.stages))
    rate: float = config.sample_rate / config.mel_hop_length / audio_vae.temporal_compression_ratio
    return round(seconds * rate)
