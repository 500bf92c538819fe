"""The linear half of the video VAE: principal components of blocks of 8 x 16 x 16 pixels.

A clip falls into blocks of 8 frames (the first frame, repeated, is a block of its own, as in the causal VAE). Blocks of
half and of quarter size have components of their own, because the VAE's layers halve each side one after the other.
"""

from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor

CHANNELS = 128
"""Latent channels of the VAE."""

PRINCIPAL = CHANNELS - 2
"""Of them, those that carry pixels; the last two mark the borders of the picture."""

SPATIAL, TEMPORAL = 16, 8
"""Pixels and frames of one latent cell."""

_MIDDLE_KEPT, _FINE_KEPT = 63, 31
"""Components of half and quarter blocks that fit through the decoder's 64 and 32 channels beside the constant one."""


def blocks(clips: Tensor, frames: int = TEMPORAL, side: int = SPATIAL) -> Tensor:
    """(clips, 3, n, rows, columns) to (clips, blocks in time, down, across, values in t, y, x, colour order)."""
    padded = torch.cat((clips[:, :, :1].expand(-1, -1, frames - 1, -1, -1), clips), dim=2)
    count, colours, length, rows, columns = padded.shape
    cut = padded.view(count, colours, length // frames, frames, rows // side, side, columns // side, side)
    return cut.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)


def from_blocks(cut: Tensor, frames: int = TEMPORAL, side: int = SPATIAL) -> Tensor:
    """The inverse of ``blocks``."""
    count, times, down, across, _ = cut.shape
    whole = cut.view(count, times, down, across, frames, side, side, 3).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return whole.reshape(count, 3, times * frames, down * side, across * side)[:, :, frames - 1 :]


def octants(frames: int, side: int) -> list[Tensor]:
    """Where the eight blocks of half the size lie in a block's values; time varies slowest, columns fastest."""
    places = torch.arange(frames * side * side * 3).view(frames, side, side, 3)
    halves = [part for slab in places.chunk(2, dim=0) for row in slab.chunk(2, dim=1) for part in row.chunk(2, dim=2)]
    return [half.flatten() for half in halves]


@dataclass(frozen=True, slots=True)
class Basis:
    """Components as columns, largest first."""

    mean: Tensor
    """(6144,): of whole blocks."""
    whole: Tensor
    """(6144, 126)."""
    half: Tensor
    """(768, 126): of blocks of 4 x 8 x 8."""
    quarter: Tensor
    """(96, 31): of blocks of 2 x 4 x 4."""
    scale: Tensor
    """(126,): what a component is divided by. The square root of its deviation, so that a diffusion model sees the
    large ones first, and such that the mean variance is 1."""
    half_spread: Tensor
    """(63,): deviations of the first components of half blocks; they keep the decoder's layers in range."""
    quarter_spread: Tensor
    """(31,)."""

    def state(self) -> dict[str, Tensor]:
        return asdict(self)

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> Self:
        return cls(**state)

    @property
    def analysis(self) -> Tensor:
        """(6144, 126): block values less the mean to latents, through the half blocks as the encoder goes."""
        matrix = torch.empty_like(self.whole)
        for place in octants(TEMPORAL, SPATIAL):
            matrix[place] = self.half @ (self.half.T @ self.whole[place])
        return matrix / self.scale

    @property
    def kept_half(self) -> Tensor:
        """(768, 63): what the decoder has of half blocks."""
        return self.half[:, :_MIDDLE_KEPT]


def fit(clips: Tensor, seed: int, samples: int = 14_000) -> Basis:
    """From (clips, 3, 8 n + 1, rows, columns); a third of the samples are still first frames."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # the randomised decomposition draws from the global state
        torch.manual_seed(seed)
        moving = _some(blocks(clips), samples, generator)
        still = _some(blocks(clips[:, :, :1]), samples // 3, generator)
        values = torch.cat((moving, still))
        mean = values.mean(0)
        whole = _components(values - mean, PRINCIPAL)
        half_values = _some(blocks(clips, 4, 8), samples, generator)
        half = _components(half_values - half_values.mean(0), PRINCIPAL)
        quarter_values = _some(blocks(clips, 2, 4), samples, generator)
        quarter = _components(quarter_values - quarter_values.mean(0), _FINE_KEPT)
    deviation = ((values - mean) @ whole).std(0)
    scale = deviation.sqrt()
    return Basis(
        mean=mean,
        whole=whole,
        half=half,
        quarter=quarter,
        scale=scale * (deviation / scale).square().mean().sqrt(),
        half_spread=(half_values @ half[:, :_MIDDLE_KEPT]).std(0) + 1e-3,
        quarter_spread=(quarter_values @ quarter).std(0) + 1e-3,
    )


def markers(rows: int, columns: int) -> Tensor:
    """(rows, columns, 2): 2 at the left and top border, -2 at the right and bottom one, as the encoder writes them."""
    marked = torch.zeros(rows, columns, 2)
    marked[:, 0, 0] += 2
    marked[:, -1, 0] -= 2
    marked[0, :, 1] += 2
    marked[-1, :, 1] -= 2
    return marked


class Analyser:
    """Clips to latents by one matrix: what the encoder computes, five times as fast."""

    def __init__(self, basis: Basis) -> None:
        self._matrix = basis.analysis
        self._offset = basis.mean @ self._matrix

    def __call__(self, clips: Tensor) -> Tensor:
        """(clips, 3, 8 n + 1, rows, columns) in -1..1 to (clips, 128, n + 1, rows / 16, columns / 16)."""
        latents = blocks(clips) @ self._matrix - self._offset
        border = markers(*latents.shape[2:4]).expand(*latents.shape[:4], 2)
        return torch.cat((latents, border), dim=-1).permute(0, 4, 1, 2, 3)


def _some(cut: Tensor, count: int, generator: torch.Generator) -> Tensor:
    flat = cut.flatten(0, -2)
    return flat[torch.randperm(len(flat), generator=generator)[:count]]


def _components(values: Tensor, count: int) -> Tensor:
    return torch.svd_lowrank(values, q=min(count + 12, *values.shape), niter=3)[2][:, :count].contiguous()
