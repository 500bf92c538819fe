"""A small picture that stands for a video: its first frame, so that a player that begins to play does not jump."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from PIL import Image

from stillmotion.media.thumbnail import LONGEST_SIDE, fitting, packed
from stillmotion.media.writer import picture_frames


def write_poster(picture: npt.NDArray[np.uint8], width: int, height: int, path: str | Path) -> None:
    """Writes ``picture``, ``(height * 3 // 2, width)`` planar BT.709 as the encoders take it, as a WebP at ``path``.

    Its longer side is at most ``LONGEST_SIDE``, it has at most ``thumbnail.MAX_BYTES``. Raises OSError, ValueError.
    """
    (frame,) = picture_frames(picture[None], width, height)
    size = fitting(width, height, LONGEST_SIDE)
    rgb = VideoReformatter().reformat(
        frame,
        width=size[0],
        height=size[1],
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND,
    )
    Path(path).write_bytes(packed(Image.fromarray(rgb.to_ndarray())))
