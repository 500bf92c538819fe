"""Frames and sound to an MP4 file, encoded as they arrive."""

import contextlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from stillmotion.job import Encoding

CRF = {"low": 28, "medium": 23, "high": 17, "maximum": 10}
"""``Encoding.quality`` to x264's constant rate factor; 23 is x264's own default, 17 is taken for visually lossless."""

PRESET = {"fast": "veryfast", "balanced": "medium", "small": "slow"}
"""``Encoding.write_mode`` to x264's preset: time spent on making the file smaller."""

AUDIO_BITS_PER_CHANNEL = 96_000
"""AAC-LC in bits per second; FFmpeg's encoder is transparent to most listeners at 96 kb/s per channel."""

AAC_FRAME = 1024
"""Samples of one AAC-LC frame."""


class Mp4Writer:
    """An MP4 file (H.264 4:2:0 BT.709, AAC, index first) that grows with every ``write``; ``close`` completes it.

    ``rate`` is the exact frame rate; ``sample_rate`` None means a file without an audio track. Sound is cut or
    padded with silence to end with the last picture. Memory holds the encoder's look-ahead (about 50 pictures) and
    the sound not yet written, never the clip. Leaving the context by an exception, or ``abandon``, leaves an
    unfinished file behind, which the caller deletes. Raises ValueError for odd sides and for arrays of a wrong shape,
    OSError when the file cannot be written.
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
        if width % 2 or height % 2:
            raise ValueError(f"H.264 4:2:0 has even sides, not {width}x{height}")
        self._size, self._rate, self._frames, self._broken = (width, height), rate, 0, False
        # No cap on the muxer's wait for the other track: sound that comes late would not be interleaved.
        options = {"movflags": "+faststart", "max_interleave_delta": "0"}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        self._video = _video_stream(self._container, width, height, rate, encoding)
        self._audio = None
        if sample_rate is not None:
            self._audio = _AudioTrack(self._container, self._mux, sample_rate, channels)

    def write(self, yuv: npt.NDArray[np.uint8]) -> None:
        """Appends pictures: ``(n, height * 3 // 2, width)`` uint8, planar 4:2:0, BT.709 limited range."""
        width, height = self._size
        if yuv.dtype != np.uint8 or yuv.shape[1:] != (height * 3 // 2, width):
            raise ValueError(f"{yuv.dtype} frames of shape {yuv.shape[1:]} do not fit a {width}x{height} file")
        for picture in yuv:
            frame = _frame(np.ascontiguousarray(picture), height)
            frame.pts, frame.time_base = self._frames, 1 / self._rate
            frame.color_range, frame.colorspace = ColorRange.MPEG, Colorspace.ITU709
            frame.color_primaries, frame.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
            self._mux(self._video.encode(frame))
            self._frames += 1
            if self._audio is not None:
                self._audio.advance(self._frames / self._rate)

    def write_audio(self, samples: npt.NDArray[np.float32]) -> None:
        """Appends sound: ``(channels, samples)`` float32 in -1..1, before, between or after its pictures."""
        if self._audio is None:
            raise ValueError("this file has no audio track")
        self._audio.append(samples)

    def close(self) -> None:
        """Ends both tracks and writes the index. Raises ValueError when no picture was written."""
        try:
            if self._frames == 0:
                raise ValueError("a video has at least one frame")
            self._mux(self._video.encode(None))
            if self._audio is not None:
                self._audio.finish(self._frames / self._rate)
        except BaseException:
            self.abandon()
            raise
        self._container.close()

    def abandon(self) -> None:
        """Closes the file as it is, without what the encoders still hold."""
        with contextlib.suppress(OSError):  # the disk is full, for one; whoever abandons knows more
            self._container.close()

    def _mux(self, packets: Sequence["Packet[Any]"]) -> None:
        # After a header that could not be written, FFmpeg 8.1 dies of the next packet (null pointer).
        if self._broken:
            raise OSError("this file could not be written")
        try:
            self._container.mux(packets)
        except BaseException:
            self._broken = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()


class _AudioTrack:
    """The AAC track: holds sound back until the pictures have reached it, so that the file is interleaved."""

    def __init__(
        self,
        container: OutputContainer,
        mux: Callable[[Sequence["Packet[Any]"]], None],
        sample_rate: int,
        channels: int,
    ) -> None:
        self._mux, self._sample_rate, self._channels = mux, sample_rate, channels
        self._layout = {1: "mono", 2: "stereo"}[channels]
        self._stream: AudioStream = container.add_stream("aac", rate=sample_rate, layout=self._layout)
        self._stream.bit_rate = AUDIO_BITS_PER_CHANNEL * channels
        self._waiting = np.zeros((channels, 0), np.float32)
        self._encoded = 0

    def append(self, samples: npt.NDArray[np.float32]) -> None:
        if samples.ndim != 2 or samples.shape[0] != self._channels:
            raise ValueError(f"sound of shape {samples.shape} does not fit {self._channels} channels")
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32, copy=False)], axis=1)

    def advance(self, seconds: Fraction) -> None:
        """Encodes the whole AAC frames that begin before ``seconds``."""
        due = int(seconds * self._sample_rate) - self._encoded
        self._encode(min(due, self._waiting.shape[1]) // AAC_FRAME * AAC_FRAME)

    def finish(self, seconds: Fraction) -> None:
        missing = max(0, round(seconds * self._sample_rate) - self._encoded)
        silence = np.zeros((self._channels, max(0, missing - self._waiting.shape[1])), np.float32)
        self._waiting = np.concatenate([self._waiting[:, :missing], silence], axis=1)
        self._encode(missing)
        self._mux(self._stream.encode(None))

    def _encode(self, count: int) -> None:
        if count <= 0:
            return
        block, self._waiting = self._waiting[:, :count], self._waiting[:, count:]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._sample_rate, self._encoded, Fraction(1, self._sample_rate)
        self._mux(self._stream.encode(frame))
        self._encoded += count


def _frame(picture: npt.NDArray[np.uint8], height: int) -> av.VideoFrame:
    """The picture without a copy (x264 makes its own), where PyAV can borrow it.

    PyAV 18.1 takes a borrowed picture for one of ``rows // 6 * 4`` lines, so a height such as 170 would lose two of
    them and shift the chroma planes.
    """
    if height % 4:
        return av.VideoFrame.from_ndarray(picture, format="yuv420p")
    return av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")


def _video_stream(
    container: OutputContainer, width: int, height: int, rate: Fraction, encoding: Encoding
) -> VideoStream:
    options = {"crf": str(CRF[encoding.quality]), "preset": PRESET[encoding.write_mode]}
    stream: VideoStream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / rate
    context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    context.thread_count, context.thread_type = 0, "AUTO"  # PyAV's own default is one thread: 0.63x as fast on 2 cores
    return stream
