"""Sizes and frame counts: what is delivered, and what the network computes for it. Pure arithmetic.

A named, tiered or custom size is delivered exactly (even pixels, because the video codecs halve the chroma); only
``auto`` chooses a size itself. The network computes on its own grid at or above the delivery, and what is over is
cropped or trimmed. Where a model's limits are lower than the delivery, it computes less and the last step scales up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, isqrt

from stillmotion.job import Model, Upsampling

NAMED_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
"""Width and height of fal's size names, as its open client toolkit defines them."""

TIERS = {"1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160)}
"""Width and height of the Pro tiers in landscape; portrait turns them."""

AUTO_BUDGET = (1280, 720)
AUTO_PIXELS = AUTO_BUDGET[0] * AUTO_BUDGET[1]
AUTO_MULTIPLE = 32
AUTO_SIDES = (64, 4096)
"""Shortest and longest side that ``auto`` chooses, so that a 1:50 strip stays a video."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What one stage computes: pixels, frames and the rate of those frames."""

    width: int
    height: int
    num_frames: int
    fps: float


def auto_size(image: tuple[int, int]) -> tuple[int, int]:
    """The picture's own aspect at a budget of 1280x720 pixels: 16:9 gives 1248x704, as the documents' sample shows.

    Height is floored to 32, width is the nearest multiple of 32 to aspect x height.
    """
    low, high = AUTO_SIDES
    # In whole numbers: sqrt of a float lands below a multiple where the exact root is one.
    exact = isqrt(AUTO_PIXELS * image[1] // image[0])
    height = _clamp(exact // AUTO_MULTIPLE * AUTO_MULTIPLE, low, high)
    width = _clamp(round(height * image[0] / image[1] / AUTO_MULTIPLE) * AUTO_MULTIPLE, low, high)
    return width, height


def tier_size(tier: str, aspect: str, image: tuple[int, int]) -> tuple[int, int]:
    """A tier in the given aspect, ``16:9`` or ``9:16``; ``auto`` is the one nearer to the picture's by log ratio.

    The two are each other's inverse, so the nearer one is that of the picture's own orientation; a square is landscape.
    """
    width, height = TIERS[tier]
    portrait = image[1] > image[0] if aspect == "auto" else aspect == "9:16"
    return (height, width) if portrait else (width, height)


def even(size: tuple[int, int]) -> tuple[int, int]:
    """The size at or above ``size`` with even sides."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def sides(size: tuple[int, int], model: Model, halvings: int = 0) -> tuple[int, int]:
    """The smallest width and height on ``model``'s grid that cover ``size``, or the largest that its limits allow.

    Both can be halved ``halvings`` times and stay on the grid. Never less than one cell of that, even where
    ``max_pixels`` is.
    """
    multiple = model.spatial_multiple << halvings
    width, height = (_up(side, multiple) for side in size)
    if model.max_pixels is not None and width * height > model.max_pixels:
        return _shrunk(size, model.max_pixels, multiple)
    return width, height


def frames(num_frames: int, fps: float, model: Model, halvings: int = 0) -> tuple[int, float]:
    """The fewest frames on ``model``'s grid that cover ``num_frames``, or the most that it allows; and their rate.

    All but the first can be halved ``halvings`` times and stay on the grid. A model that may compute fewer frames than
    are delivered spreads them over the same time: its first and last fall on the first and last delivered frame.
    """
    step = model.temporal_multiple << halvings
    computed = _up(num_frames - 1, step) + 1
    if model.max_frames is not None and computed > model.max_frames:
        computed = (model.max_frames - 1) // step * step + 1
    if computed >= num_frames or computed == 1:
        return computed, fps
    return computed, fps * (computed - 1) / (num_frames - 1)


def grid(
    size: tuple[int, int], num_frames: int, fps: float, model: Model, *, spatial: int = 0, temporal: int = 0
) -> Grid:
    """``sides`` and ``frames`` together, which can be halved ``spatial`` and ``temporal`` times."""
    return Grid(*sides(size, model, spatial), *frames(num_frames, fps, model, temporal))


def ladder(last: Grid, doublings: Sequence[Upsampling]) -> tuple[Grid, ...]:
    """The canvases of a chain of stages that ends at ``last``, the first stage first: one more than ``doublings``.

    Doubling sides or frames (``2 (n - 1) + 1`` of them, at twice the rate) leads from each exactly to the next.
    """
    grids = [last]
    for doubling in reversed(doublings):
        grids.insert(0, _halved(grids[0], doubling))
    return tuple(grids)


def _halved(grid: Grid, doubling: Upsampling) -> Grid:
    if doubling == "spatial_x2":
        return replace(grid, width=grid.width // 2, height=grid.height // 2)
    return replace(grid, num_frames=(grid.num_frames - 1) // 2 + 1, fps=grid.fps / 2)


def _shrunk(size: tuple[int, int], max_pixels: int, multiple: int) -> tuple[int, int]:
    """The canvas on the grid within ``max_pixels`` whose aspect is nearest to ``size``, the larger of two equals."""
    aspect = size[0] / size[1]
    cells = max(1, max_pixels // (multiple * multiple))

    def misfit(cell: tuple[int, int]) -> tuple[float, int]:
        ratio = cell[0] / cell[1] / aspect
        # A tenth of aspect error is worth half of the pixels: without this, 1:1 at one cell would beat 15:14.
        lost = 1 - cell[0] * cell[1] / cells
        return round(max(ratio, 1 / ratio) - 1 + 0.2 * lost, 6), -cell[0] * cell[1]

    best = min(
        ((w, h) for w in range(1, cells + 1) for h in {max(1, cells // w), _nearest(w, aspect, cells)}), key=misfit
    )
    return best[0] * multiple, best[1] * multiple


def _nearest(cells_wide: int, aspect: float, cells: int) -> int:
    return _clamp(round(cells_wide / aspect), 1, max(1, cells // cells_wide))


def _up(value: int, multiple: int) -> int:
    return ceil(value / multiple) * multiple


def _clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
