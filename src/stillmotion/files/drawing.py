"""A picture for a URL that nobody may fetch: a landscape drawn from the URL's hash, the same every time."""

import colorsys
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT = 1280, 720
"""16:9, so that `auto` sizes come out as for the usual photograph: 1248x704."""
_HILLS = 3

Canvas = npt.NDArray[np.float32]


def draw_picture(url: str, target: Path) -> None:
    """Writes a PNG of WIDTH x HEIGHT pixels to ``target``: a sky, a sun and hills, whose colours and shapes are
    the bytes of the URL's SHA-256."""
    chosen = iter(byte / 255 for byte in hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest())
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) / HEIGHT
    hue = next(chosen)
    low, high = _colour(hue + 0.08, 0.35, 1.0), _colour(hue, 0.6, 0.75)
    canvas: Canvas = high + (low - high) * y[..., None]
    distance = np.hypot(x - (0.2 + 1.4 * next(chosen)), y - (0.15 + 0.3 * next(chosen)))
    _lay(canvas, _colour(hue + 0.12, 0.15, 1.0), _edge(0.06 + 0.06 * next(chosen) - distance))
    for hill in range(_HILLS):
        waves = sum(np.sin(x * (2 + 5 * next(chosen)) * size + 6.3 * next(chosen)) / size for size in (1, 2.3))
        ridge = 0.55 + 0.16 * hill + 0.06 * waves
        _lay(canvas, _colour(hue + 0.45 + 0.1 * next(chosen), 0.45, 0.7 - 0.2 * hill), _edge(y - ridge))
    Image.fromarray((canvas * 255).round().astype(np.uint8)).save(target, "PNG")


def _colour(hue: float, saturation: float, value: float) -> Canvas:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32)


def _edge(inside: Canvas) -> Canvas:
    """How much of each pixel is covered, for its distance from an outline in picture heights."""
    covered: Canvas = np.clip(inside * HEIGHT + 0.5, 0, 1)
    return covered


def _lay(canvas: Canvas, colour: Canvas, cover: Canvas) -> None:
    canvas += (colour - canvas) * cover[..., None]
