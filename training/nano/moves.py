"""The camera words and what each does to a picture: exact warps with a mirrored border, in PyTorch.

Coordinates run from -1 to 1 over each side, so an amount is a share of the picture at every size and aspect.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MOVES = ("dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static")
"""As ``camera_lora`` names them."""

PAN = 0.25
"""Share of the side that a dolly to the side or a jib travels during a clip, at normal speed."""

ZOOM = 1.4
"""How much larger a dolly in makes the centre during a clip, at normal speed; a dolly out is its inverse."""

SPEEDS = {"slow": 0.6, "normal": 1.0, "fast": 1.4}
"""What a speed word multiplies the travelled amount by; of a zoom it is the exponent."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where each output pixel ``p`` is looked up: ``p * scale + (x, y)``. All are (clips, frames)."""

    scale: Tensor
    x: Tensor
    y: Tensor


def path(moves: Sequence[int], speeds: Tensor, times: Tensor) -> Path:
    """``moves``: indices into MOVES; ``speeds``: (clips,); ``times``: (frames,), 0 at the picture, 1 after the move.

    Times below 0 lead towards the picture. A camera that goes left sees what is further left.
    """
    way = speeds[:, None] * times[None]
    move = torch.tensor(list(moves))[:, None]
    sign = {name: (move == index).to(way.dtype) for index, name in enumerate(MOVES)}
    return Path(
        scale=ZOOM ** (way * (sign["dolly_out"] - sign["dolly_in"])),
        x=2 * PAN * way * (sign["dolly_right"] - sign["dolly_left"]),
        y=2 * PAN * way * (sign["jib_down"] - sign["jib_up"]),
    )


def warp(pictures: Tensor, way: Path) -> Tensor:
    """(clips, 3, rows, columns) in -1..1, seen along ``way``: (clips, 3, frames, rows, columns)."""
    clips, channels, rows, columns = pictures.shape
    frames = way.scale.shape[1]
    x = (torch.arange(columns) + 0.5) / columns * 2 - 1
    y = (torch.arange(rows) + 0.5) / rows * 2 - 1
    across = (x * way.scale[..., None] + way.x[..., None])[:, :, None].expand(-1, -1, rows, -1)
    down = (y * way.scale[..., None] + way.y[..., None])[..., None].expand(-1, -1, -1, columns)
    seen = functional.grid_sample(
        pictures.repeat_interleave(frames, dim=0),
        torch.stack((across, down), dim=-1).flatten(0, 1),
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    ).clamp_(-1, 1)
    return seen.view(clips, frames, channels, rows, columns).transpose(1, 2)


def clip(pictures: Tensor, moves: Sequence[int], speeds: Tensor, frames: int) -> Tensor:
    """The pictures as first frames, then the moves at an even pace."""
    return warp(pictures, path(moves, speeds, torch.linspace(0, 1, frames)))


def arriving(pictures: Tensor, moves: Sequence[int], speeds: Tensor, frames: int) -> Tensor:
    """Clips that end at the pictures."""
    return warp(pictures, path(moves, speeds, torch.linspace(-1, 0, frames)))


def dissolve(starts: Tensor, ends: Tensor, moves: Sequence[int], speeds: Tensor, frames: int) -> Tensor:
    """From one picture to the other while the camera moves: each is exact at its own end."""
    times = torch.linspace(0, 1, frames)
    share = (times * times * (3 - 2 * times))[:, None, None]
    first, last = clip(starts, moves, speeds, frames), arriving(ends, moves, speeds, frames)
    return first * (1 - share) + last * share
