"""The compression that the model saw on its conditioning images in training."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av import VideoCodecContext, VideoFrame
from av.codec import CodecContext

Bytes = npt.NDArray[np.uint8]


def recompress(rgb: Bytes, crf: int) -> Bytes:
    """``(H, W, 3)`` RGB through one H.264 key frame at ``crf`` (0: unchanged); odd sides lose a row or column.

    LTX-2 was trained on frames of compressed video: a clean still looks like another domain to it, and the video
    freezes. The settings (libx264 veryfast, 4:2:0, swscale's default matrix both ways) are those of the reference
    pipelines, so the network gets the same pixels.
    """
    if crf == 0:
        return rgb
    height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
    encoder = _encoder(width, height, crf)
    source = VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]), format="rgb24")
    source = source.reformat(format="yuv420p")
    decoder = CodecContext.create("h264", "r")
    packets = [*encoder.encode(source), *encoder.encode(None)]
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    result: Bytes = frames[0].to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    return result


def _encoder(width: int, height: int, crf: int) -> VideoCodecContext:
    encoder = CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    # x264's CRF weighs a frame by its duration; one frame per second is what the reference declares.
    encoder.framerate, encoder.time_base = Fraction(1), Fraction(1)
    encoder.options = {"crf": str(crf), "preset": "veryfast"}
    return encoder
