"""Which frames of a video are looked at, and how they look."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from stillmotion.safety.checker import Picture

Planes = npt.NDArray[np.uint8]

FEWEST, MOST = 3, 16


def sampled(num_frames: int, fps: float) -> tuple[int, ...]:
    """Indices, evenly spaced from the first frame to the last: at least one a second and at least 3, at most 16."""
    count = min(MOST, max(FEWEST, math.ceil(num_frames / fps) + 1))
    return tuple(sorted({round(at) for at in np.linspace(0, num_frames - 1, count)}))


def rgb(planes: Planes) -> Picture:
    """The picture of one frame in planar BT.709 YUV 4:2:0, limited range, ``(rows * 3 / 2, columns)``."""
    picture = VideoReformatter().reformat(
        VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p"),
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    )
    return picture.to_ndarray().astype(np.uint8, copy=False)


class Sampling:
    """Keeps some frames of a video while it goes by.

    Kept as they come, in half the bytes of RGB: 16 frames of 2160p are 200 MB.
    """

    def __init__(self, num_frames: int, fps: float) -> None:
        self._wanted = sampled(num_frames, fps)
        self._kept: list[Planes] = []
        self._seen = 0

    def see(self, chunk: Planes) -> None:
        """The next frames, ``(n, rows * 3 / 2, columns)``."""
        first, self._seen = self._seen, self._seen + len(chunk)
        # Copies: the chunk's memory may be used again.
        self._kept += [chunk[index - first].copy() for index in self._wanted if first <= index < self._seen]

    @property
    def complete(self) -> bool:
        return len(self._kept) == len(self._wanted)

    def pictures(self) -> Iterator[Picture]:
        return map(rgb, self._kept)
