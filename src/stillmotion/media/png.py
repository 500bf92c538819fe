"""The first picture of a clip to a PNG: what an endpoint that makes pictures delivers."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from stillmotion.media.writer import EXACT, Writer, check_size, picture_frames


class PngWriter(Writer):
    """Further pictures and sound are accepted and left out. Raises ValueError for odd sides."""

    def __init__(self, path: str | Path, width: int, height: int) -> None:
        check_size(width, height)
        self._path, self._size = path, (width, height)
        self._picture: Image.Image | None = None

    def write(self, yuv: npt.NDArray[np.uint8], /) -> None:
        if self._picture is None and len(yuv):
            (first,) = picture_frames(yuv[:1], *self._size)
            rgb = VideoReformatter().reformat(
                first,
                format="rgb24",
                src_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
                interpolation=EXACT,
            )
            self._picture = Image.fromarray(rgb.to_ndarray())

    def write_audio(self, samples: npt.NDArray[np.float32], /) -> None:
        pass

    def close(self) -> None:
        if self._picture is None:
            raise ValueError("a picture has at least one frame")
        self._picture.save(self._path, "PNG")

    def abandon(self) -> None:
        pass
