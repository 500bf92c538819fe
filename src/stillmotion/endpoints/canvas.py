"""Sizes and frame counts: what is delivered, and what the network computes for it. Pure arithmetic.

A named, tiered or custom size is delivered exactly (even pixels, because the video codecs halve the chroma); only
``auto`` chooses a size itself. The network computes on its own grid at or above the delivery, and what is over is
cropped or trimmed. Where a model's limits are lower than the delivery, it computes less and the last step scales up.
"""

from dataclasses import dataclass
from math import ceil, isqrt

from stillmotion.job import Model

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


def grid(size: tuple[int, int], num_frames: int, fps: float, model: Model) -> Grid:
    """The smallest canvas of ``model``'s grid that covers the delivery, or the largest that its limits allow.

    A model that may compute fewer frames than are delivered spreads them over the same time: its first and last
    frame fall on the first and last delivered frame.
    """
    width, height = (_up(side, model.spatial_multiple) for side in size)
    if model.max_pixels is not None and width * height > model.max_pixels:
        width, height = _shrunk(size, model.max_pixels, model.spatial_multiple)
    step = model.temporal_multiple
    frames = _up(num_frames - 1, step) + 1
    if model.max_frames is not None and frames > model.max_frames:
        frames = (model.max_frames - 1) // step * step + 1
    if frames >= num_frames:
        return Grid(width, height, frames, fps)
    return Grid(width, height, frames, fps * (frames - 1) / (num_frames - 1))


def _shrunk(size: tuple[int, int], max_pixels: int, multiple: int) -> tuple[int, int]:
    """The canvas on the grid within ``max_pixels`` whose aspect is nearest to ``size``, the larger of two equals."""
    aspect = size[0] / size[1]
    cells = max_pixels // (multiple * multiple)

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
