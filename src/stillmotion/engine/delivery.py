"""From the frames the network computed to the frames that were promised: their number, time and size."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def positions(delivered: int, fps: float, computed: int, computed_fps: float) -> list[float]:
    """Where among the ``computed`` frames each ``delivered`` frame lies in time; the last one stands for what follows.

    At equal rates these are 0, 1, 2, ...: a trim.
    """
    return [min(index * computed_fps / fps, computed - 1.0) for index in range(delivered)]


def retime(chunks: Iterator[Tensor], positions: Sequence[float]) -> Iterator[Tensor]:
    """The frames at ``positions`` (ascending), linearly interpolated between neighbours; whole positions are exact.

    ``chunks`` are (frames, ...) in order. Every chunk is passed on as soon as the frames it needs are there, and none
    is asked for after the last position.
    """
    window: Tensor | None = None
    first = done = 0
    while done < len(positions):
        chunk = next(chunks)
        window = chunk if window is None else torch.cat((window, chunk))
        ready = bisect_right(positions, first + len(window) - 1, lo=done)
        if ready > done:
            yield _between(window, [position - first for position in positions[done:ready]])
            done = ready
        if done < len(positions):
            passed = min(int(positions[done]) - first, len(window))
            window, first = window[passed:], first + passed


def _between(frames: Tensor, positions: Sequence[float]) -> Tensor:
    lower = torch.tensor([int(position) for position in positions], device=frames.device)
    if all(position.is_integer() for position in positions):
        return frames[lower]
    weight = torch.tensor([position % 1 for position in positions], device=frames.device, dtype=frames.dtype)
    upper = (lower + 1).clamp(max=len(frames) - 1)
    return torch.lerp(frames[lower], frames[upper], weight.view(-1, *[1] * (frames.ndim - 1)))


def shown(frames: Tensor, width: int, height: int) -> Tensor:
    """The part of ``frames`` (..., rows, columns) that a canvas of ``width`` x ``height`` shows, in their own size."""
    rows, columns = frames.shape[-2:]
    scale = max(height / rows, width / columns, 1)
    height, width = max(1, round(height / scale)), max(1, round(width / scale))
    top, left = (rows - height) // 2, (columns - width) // 2
    return frames[..., top : top + height, left : left + width]


def to_canvas(frames: Tensor, width: int, height: int) -> Tensor:
    """Centres ``frames`` (frames, 3, rows, columns) on a canvas of ``width`` x ``height``.

    Frames that cover the canvas are cut; smaller ones are first scaled up, bicubically, until they do.
    """
    rows, columns = frames.shape[-2:]
    scale = max(height / rows, width / columns)
    if scale > 1:
        rows, columns = max(height, math.ceil(rows * scale - 1e-6)), max(width, math.ceil(columns * scale - 1e-6))
        frames = functional.interpolate(frames, size=(rows, columns), mode="bicubic", antialias=True)
    top, left = (rows - height) // 2, (columns - width) // 2
    return frames[..., top : top + height, left : left + width]
