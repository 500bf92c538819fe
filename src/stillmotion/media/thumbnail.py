"""Small pictures for lists and cards: WebP, bounded in sides and bytes."""

from io import BytesIO
from pathlib import Path

from PIL import Image

CONTENT_TYPE = "image/webp"
LONGEST_SIDE = 480
MAX_BYTES = 40_000
QUALITIES = (80, 65, 50, 35, 20)
"""Of WebP: the first that fits into ``MAX_BYTES``. A photograph takes 20 kB at the first; noise fits at none, and is
shown smaller."""


def thumbnail(path: Path) -> bytes:
    """The WebP of a picture file that is ours: strangers' are not decoded in this process."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    return packed(rgb.resize(fitting(*rgb.size, LONGEST_SIDE), Image.Resampling.LANCZOS))


def packed(image: Image.Image) -> bytes:
    """``image`` as WebP of at most ``MAX_BYTES``, as good as fits."""
    while True:
        for quality in QUALITIES:
            stream = BytesIO()
            image.save(stream, "WEBP", quality=quality, method=4)
            if len(stream.getvalue()) <= MAX_BYTES:
                return stream.getvalue()
        image = image.resize(fitting(*image.size, max(image.size) * 2 // 3), Image.Resampling.BOX)


def fitting(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size within ``longest`` of the same shape, never a larger one."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
