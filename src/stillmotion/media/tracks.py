"""Frames and sound to a file with tracks, encoded as they arrive: MP4, WebM and QuickTime."""

import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from stillmotion.job import Encoding
from stillmotion.media.audio import AudioTrack
from stillmotion.media.codecs import TRACKS, Tracks, video_options
from stillmotion.media.writer import EXACT, SETTINGS_KEY, Muxer, Writer, check_size, picture_frames, tag_bt709

MAX_FRAME_THREADS = 8
"""An encoder of independent frames holds one 4:4:4:4 picture (17 MB at 1920x1080) per thread."""

MAX_TIMESCALE = 2**31 - 1
"""ISO/IEC 14496-12, 8.2.2: 32 bits, of which FFmpeg uses 31."""


class TrackWriter(Writer):
    """A file of one of ``codecs.TRACKS``: a video track tagged BT.709, and perhaps an audio track.

    ``rate`` is the exact frame rate; ``sample_rate`` None means a file without an audio track. Sound is cut or
    padded with silence to end with the last picture. Raises ValueError for odd sides.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        rate: Fraction,
        encoding: Encoding,
        *,
        sample_rate: int | None,
        channels: int = 2,
    ) -> None:
        check_size(width, height)
        tracks = TRACKS[encoding.container]
        self._size, self._rate, self._pixels, self._frames = (width, height), rate, tracks.pixels, 0
        self._muxer = Muxer(path, tracks.format, _muxer_options(tracks, rate, sample_rate))
        container = self._muxer.container
        if encoding.settings is not None:
            container.metadata[SETTINGS_KEY] = encoding.settings
        stream = container.add_stream(tracks.video, rate=rate, options=video_options(encoding))
        assert isinstance(stream, VideoStream)
        self._video = stream
        _set_up(stream, width, height, rate, tracks)
        self._converter = VideoReformatter()
        self._audio = None
        if sample_rate is not None:
            self._audio = AudioTrack(
                container, self._muxer.mux, tracks.audio, sample_rate=sample_rate, channels=channels
            )

    def write(self, yuv: npt.NDArray[np.uint8], /) -> None:
        for picture in picture_frames(yuv, *self._size):
            frame = self._converted(picture)
            frame.pts, frame.time_base = self._frames, 1 / self._rate
            self._muxer.mux(self._video.encode(frame))
            self._frames += 1
            if self._audio is not None:
                self._audio.advance(self._frames / self._rate)

    def write_audio(self, samples: npt.NDArray[np.float32], /) -> None:
        """Raises ValueError for a file without an audio track, and for another number of channels."""
        if self._audio is None:
            raise ValueError("this file has no audio track")
        self._audio.append(samples)

    def close(self) -> None:
        try:
            if self._frames == 0:
                raise ValueError("a video has at least one frame")
            self._muxer.mux(self._video.encode(None))
            if self._audio is not None:
                self._audio.finish(self._frames / self._rate)
        except BaseException:
            self.abandon()
            raise
        self._muxer.close()

    def abandon(self) -> None:
        self._muxer.abandon()

    def _converted(self, picture: VideoFrame) -> VideoFrame:
        """The picture in the track's pixel format; where that has an alpha channel, it is opaque."""
        if self._pixels == "yuv420p":
            return picture
        return tag_bt709(self._converter.reformat(picture, format=self._pixels, interpolation=EXACT))


def _muxer_options(tracks: Tracks, rate: Fraction, sample_rate: int | None) -> dict[str, str]:
    # No cap on the muxer's wait for the other track: sound that comes late would not be interleaved.
    options = {**tracks.muxer, "max_interleave_delta": "0"}
    if tracks.movie_clock:
        # Lengths in milliseconds, the default, would let sound of 23.976 pictures per second end 7 samples late.
        options["movie_timescale"] = str(min(math.lcm(rate.numerator, sample_rate or 1), MAX_TIMESCALE))
    return options


def _set_up(stream: VideoStream, width: int, height: int, rate: Fraction, tracks: Tracks) -> None:
    stream.width, stream.height, stream.pix_fmt = width, height, tracks.pixels
    context = stream.codec_context
    context.time_base = 1 / rate
    context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    context.thread_count, context.thread_type = _threads(tracks), "AUTO"


def _threads(tracks: Tracks) -> int:
    """0 is as many as the encoder thinks right; PyAV's own default of one is 0.63x as fast on 2 cores."""
    return min(os.cpu_count() or 1, MAX_FRAME_THREADS) if tracks.video == "prores_ks" else 0
