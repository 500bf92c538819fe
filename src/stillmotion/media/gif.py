"""Frames to an animated GIF, as they arrive."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.stream import VideoStream

from stillmotion.job import Encoding
from stillmotion.media.codecs import video_options
from stillmotion.media.gif_comment import append_comment
from stillmotion.media.gif_timing import GifClock
from stillmotion.media.palette import HUNDREDTH, Quantiser
from stillmotion.media.writer import Muxer, Writer, check_size, picture_frames


class GifWriter(Writer):
    """A GIF that repeats for ever; sound is accepted and left out.

    It lasts as long as the clip to a hundredth of a second (``GifClock``); above 50 frames per second pictures are
    left out. Raises ValueError for odd sides.
    """

    def __init__(self, path: str | Path, width: int, height: int, rate: Fraction, encoding: Encoding) -> None:
        check_size(width, height)
        self._path, self._size, self._settings = path, (width, height), encoding.settings
        self._clock, self._frames = GifClock(rate), 0
        self._quantise = Quantiser(width, height, video_options(encoding))
        self._muxer = Muxer(path, "gif", {})
        self._video: VideoStream = self._muxer.container.add_stream("gif", rate=1 / HUNDREDTH)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "pal8"
        self._video.codec_context.time_base = HUNDREDTH
        self._held: list[Packet[Any]] = []
        """The last two pictures: how long they stay is known when a later one, or the end, has come."""

    def write(self, yuv: npt.NDArray[np.uint8], /) -> None:
        for picture in picture_frames(yuv, *self._size):
            start = self._clock.start(self._frames)
            self._frames += 1
            if start is not None:
                picture.pts, picture.time_base = start, HUNDREDTH
                self._held += self._video.encode(self._quantise(picture))
                while len(self._held) > 2:
                    self._muxer.mux([self._held.pop(0)])

    def write_audio(self, samples: npt.NDArray[np.float32], /) -> None:
        pass

    def close(self) -> None:
        try:
            self._end()
        except BaseException:
            self.abandon()
            raise
        self._muxer.close()
        if self._settings is not None:
            append_comment(self._path, self._settings)

    def abandon(self) -> None:
        self._muxer.abandon()

    def _end(self) -> None:
        if self._frames == 0:
            raise ValueError("a video has at least one frame")
        self._held += self._video.encode(None)
        end = self._clock.end(self._frames)
        if len(self._held) > 1 and end - self._start(-1) < 2:
            self._held.pop()  # there is no time left to show it
        self._held[-1].duration = end - self._start(-1)
        self._muxer.mux(self._held)

    def _start(self, index: int) -> int:
        start = self._held[index].pts
        assert start is not None
        return start
