"""Pictures in at most 256 colours: a palette by Pillow, dithering by FFmpeg."""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from stillmotion.media.writer import EXACT

HUNDREDTH = Fraction(1, 100)

SAMPLE = 4_000
"""Pixels of a picture, about, evenly spread, that its palette is made from: at 640x360 in 128 colours 11 ms, and 35
for 9,000, which gain 0.15 dB. FFmpeg's own ``palettegen`` takes 67 ms for a palette that is 0.4 dB worse."""

_SIDE = 16
"""FFmpeg takes a palette as a picture of 16 x 16."""


class Quantiser:
    """Gives every picture the palette of its own colours, or that of the last picture which got one.

    ``options``: ``max_colors``, ``dither`` as FFmpeg's filter ``paletteuse`` takes it, and ``pictures``, the number
    that one palette serves. A palette knows nothing of later pictures, so memory holds one.
    """

    def __init__(self, width: int, height: int, options: Mapping[str, str]) -> None:
        self._colours, self._every, self._count = int(options["max_colors"]), int(options["pictures"]), 0
        self._step = max(1, round(math.sqrt(width * height / SAMPLE)))
        self._converter = VideoReformatter()
        self._palette: VideoFrame | None = None
        self._graph = Graph()
        use = self._graph.add("paletteuse", f"dither={options['dither']}:new=1")
        self._picture, self._colour = (
            self._graph.add("buffer", f"video_size={size}:pix_fmt=bgra:time_base={HUNDREDTH}")
            for size in (f"{width}x{height}", f"{_SIDE}x{_SIDE}")
        )
        self._result = self._graph.add("buffersink")
        self._picture.link_to(use, 0, 0)
        self._colour.link_to(use, 0, 1)
        use.link_to(self._result)
        self._graph.configure()

    def __call__(self, picture: VideoFrame) -> VideoFrame:
        """The ``pal8`` picture for a planar one of BT.709, with the same time."""
        frame = self._converter.reformat(
            picture,
            format="bgra",
            src_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
        )
        if self._palette is None or self._count % self._every == 0:
            self._palette = self._find(frame)
        for source, each in ((self._picture, frame), (self._colour, self._palette)):
            each.pts, each.time_base = self._count, HUNDREDTH
            source.push(each)
        self._count += 1
        result = self._result.pull()
        assert isinstance(result, VideoFrame)
        result.pts, result.time_base = picture.pts, picture.time_base
        return result

    def _find(self, frame: VideoFrame) -> VideoFrame:
        """By median cut, moved to the means of the pixels nearest to each colour (one round of k-means)."""
        sample = np.ascontiguousarray(frame.to_ndarray()[self._step // 2 :: self._step, :: self._step, 2::-1])
        found = Image.fromarray(sample).quantize(self._colours, Image.Quantize.MEDIANCUT, kmeans=1).getpalette()
        colours = np.array(found, np.uint8).reshape(-1, 3)[: self._colours]
        palette = np.full((_SIDE * _SIDE, 4), 255, np.uint8)
        palette[:, :3] = colours[-1, ::-1]  # what is left over repeats the last colour
        palette[: len(colours), :3] = colours[:, ::-1]
        return VideoFrame.from_ndarray(palette.reshape(_SIDE, _SIDE, 4), format="bgra")
