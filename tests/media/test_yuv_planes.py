"""RGB to BT.709 limited range, against the standard's own equations."""

import numpy as np
import pytest
from PIL import Image

from stillmotion.media.yuv import planar

PRIMARIES = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "grey": (128, 128, 128),
}


def bt709(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.709-6, 3.2 to 3.4, for 8 bits."""
    red, green, blue = np.moveaxis(rgb / 255, -1, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return np.stack([16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748])


@pytest.mark.parametrize("colour", PRIMARIES.values(), ids=PRIMARIES.keys())
def test_flat_colours(colour: tuple[int, int, int]) -> None:
    frame = planar(np.full((1, 16, 32, 3), colour, np.uint8))[0]
    expected = bt709(np.array(colour))
    assert frame.shape == (24, 32)
    for part, value in zip((frame[:16], frame[16:20], frame[20:]), expected, strict=True):
        assert np.abs(part - value).max() <= 1


def test_a_photograph(photograph: Image.Image) -> None:
    rgb = np.asarray(photograph)
    height, width, _ = rgb.shape
    frame = planar(rgb[None])[0].astype(float)
    luma, *chroma = bt709(rgb.astype(float))
    assert np.abs(frame[:height] - luma).max() <= 1.5
    for plane, full in zip(frame[height:].reshape(2, height // 2, width // 2), chroma, strict=True):
        mean_of_four = full.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
        assert np.abs(plane - mean_of_four).mean() <= 1


def test_frames_do_not_depend_on_each_other(photograph: Image.Image) -> None:
    rgb = np.asarray(photograph)
    both = planar(np.stack([rgb, 255 - rgb]))
    assert np.array_equal(both[0], planar(rgb[None])[0])
    assert np.array_equal(both[1], planar(255 - rgb[None])[0])


def test_odd_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        planar(np.zeros((1, 32, 33, 3), np.uint8))
