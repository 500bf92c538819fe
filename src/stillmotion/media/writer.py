"""What every writer of a video file does, whatever the container."""

import contextlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

SETTINGS_KEY = "comment"
"""The metadata field that holds ``Encoding.settings``: every player and tool shows it."""

EXACT = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""How pixel formats are converted. FFmpeg 8.1's quick way to RGB darkens by up to 1.5 levels and leaves the last
columns of some widths (98, 100, 130) as they were in memory; its quick way to 4:4:4 loses 4 dB of RGB's PSNR."""


class Writer(Protocol):
    """A file that grows with every ``write``; ``close`` completes it.

    Memory holds what the encoder looks ahead (at most some 50 pictures) and the sound not yet written, never the
    clip. Leaving the context by an exception, or ``abandon``, leaves an unfinished file behind, which the caller
    deletes. OSError when the file cannot be written.
    """

    @abstractmethod
    def write(self, yuv: npt.NDArray[np.uint8], /) -> None:
        """Appends pictures: ``(n, height * 3 // 2, width)`` uint8, planar 4:2:0, BT.709 limited range.

        Raises ValueError for arrays of another shape.
        """

    @abstractmethod
    def write_audio(self, samples: npt.NDArray[np.float32], /) -> None:
        """Appends sound: ``(channels, samples)`` float32 in -1..1, before, between or after its pictures."""

    @abstractmethod
    def close(self) -> None:
        """Writes what the encoders still hold, and the index. Raises ValueError when no picture was written."""

    @abstractmethod
    def abandon(self) -> None:
        """Closes the file as it is, without what the encoders still hold."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()


class Muxer:
    """FFmpeg's muxer behind a guard; ``container`` is where streams are added."""

    def __init__(self, path: str | Path, format: str, options: dict[str, str]) -> None:
        self.container = av.open(str(path), "w", format=format, options=options)
        self._broken = False

    def mux(self, packets: Sequence["Packet[Any]"]) -> None:
        # After a header that could not be written, FFmpeg 8.1 dies of the next packet (null pointer).
        if self._broken:
            raise OSError("this file could not be written")
        try:
            self.container.mux(packets)
        except BaseException:
            self._broken = True
            raise

    def close(self) -> None:
        self.container.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):  # the disk is full, for one; whoever abandons knows more
            self.container.close()


def check_size(width: int, height: int) -> None:
    """Raises ValueError for odd sides, which 4:2:0 pictures cannot have."""
    if width % 2 or height % 2:
        raise ValueError(f"4:2:0 pictures have even sides, not {width}x{height}")


def picture_frames(yuv: npt.NDArray[np.uint8], width: int, height: int) -> list[av.VideoFrame]:
    """The pictures of a chunk as frames tagged BT.709, limited range; they borrow the chunk's memory.

    Raises ValueError for a chunk of another shape.
    """
    if yuv.dtype != np.uint8 or yuv.shape[1:] != (height * 3 // 2, width):
        raise ValueError(f"{yuv.dtype} frames of shape {yuv.shape[1:]} do not fit a {width}x{height} file")
    return [tag_bt709(_frame(np.ascontiguousarray(picture), height)) for picture in yuv]


def tag_bt709(frame: av.VideoFrame) -> av.VideoFrame:
    frame.color_range, frame.colorspace = ColorRange.MPEG, Colorspace.ITU709
    frame.color_primaries, frame.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return frame


def _frame(picture: npt.NDArray[np.uint8], height: int) -> av.VideoFrame:
    """The picture without a copy (encoders make their own), where PyAV can borrow it.

    PyAV 18.1 takes a borrowed picture for one of ``rows // 6 * 4`` lines, so a height such as 170 would lose two of
    them and shift the chroma planes.
    """
    if height % 4:
        return av.VideoFrame.from_ndarray(picture, format="yuv420p")
    return av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")
