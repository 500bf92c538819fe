"""The colour conversion against FFmpeg's."""

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.engine.color import to_yuv420


def convert(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rgb = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255
    return to_yuv420(rgb)[0].numpy()


def ffmpeg(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation="AREA",
    )
    return frame.to_ndarray().astype(np.uint8, copy=False)


def distance(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> int:
    assert left.shape == right.shape
    return int(np.abs(left.astype(int) - right.astype(int)).max())


def test_equals_ffmpeg_on_a_picture(picture: npt.NDArray[np.uint8]) -> None:
    assert distance(convert(picture), ffmpeg(picture)) <= 1


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 40).map(lambda n: 2 * n), height=st.integers(2, 30).map(lambda n: 2 * n))
def test_equals_ffmpeg_on_noise_of_any_even_size(width: int, height: int) -> None:
    # From 4 rows on: of a single row of chroma FFmpeg makes something of its own.
    picture = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert distance(convert(picture), ffmpeg(picture)) <= 1


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        # ITU-R BT.709 colour bars at full amplitude, 8 bit limited range.
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 0), (16, 128, 128)),
        ((255, 0, 0), (63, 102, 240)),
        ((0, 255, 0), (173, 42, 26)),
        ((0, 0, 255), (32, 240, 118)),
    ],
)
def test_primaries(rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    planes = convert(np.full((2, 2, 3), rgb, dtype=np.uint8))
    assert planes.flatten().tolist() == [yuv[0]] * 4 + [yuv[1], yuv[2]]


def test_what_is_beyond_the_range_is_clamped() -> None:
    assert torch.equal(to_yuv420(torch.full((1, 3, 2, 2), 1.7)), to_yuv420(torch.ones(1, 3, 2, 2)))
    assert torch.equal(to_yuv420(torch.full((1, 3, 2, 2), -0.3)), to_yuv420(torch.zeros(1, 3, 2, 2)))


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="even size"):
        to_yuv420(torch.zeros(1, 3, 4, 5))
