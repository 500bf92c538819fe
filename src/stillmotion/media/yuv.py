"""RGB pictures to the planes that encoders take: BT.709, limited range, 4:2:0."""

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

Bytes = npt.NDArray[np.uint8]


def planar(rgb: Bytes) -> Bytes:
    """``(n, H, W, 3)`` full-range RGB to ``(n, H * 3 // 2, W)``: rows of Y, then U and V at half size, as yuv420p.

    Matrix and range as in ITU-R BT.709-6, 3.2 to 3.5 (Y in 16..235, chroma in 16..240). ``H`` and ``W`` are even,
    or ValueError.
    """
    count, height, width, _ = rgb.shape
    if height % 2 or width % 2:
        raise ValueError(f"4:2:0 pictures have even sides, not {width}x{height}")
    converter = VideoReformatter()
    frames = np.empty((count, height * 3 // 2, width), np.uint8)
    for frame, picture in zip(frames, rgb, strict=True):
        source = VideoFrame.from_numpy_buffer(np.ascontiguousarray(picture), format="rgb24")
        converted = converter.reformat(
            source,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        frame[:] = converted.to_ndarray()
    return frames
