"""A writer for every container, and what of a clip each of them holds."""

from fractions import Fraction
from pathlib import Path

from stillmotion.job import Encoding
from stillmotion.media.gif import GifWriter
from stillmotion.media.gif_timing import shown_frames
from stillmotion.media.png import PngWriter
from stillmotion.media.tracks import TrackWriter
from stillmotion.media.writer import Writer


def open_writer(
    path: str | Path,
    width: int,
    height: int,
    rate: Fraction,
    encoding: Encoding,
    *,
    sample_rate: int | None,
    channels: int = 2,
) -> Writer:
    """A writer of ``encoding``'s container. ``sample_rate`` None: no audio track; a GIF or PNG never has one.

    Raises ValueError for odd sides, OSError where the file cannot be made.
    """
    if encoding.container == "gif":
        return GifWriter(path, width, height, rate, encoding)
    if encoding.container == "png":
        return PngWriter(path, width, height)
    return TrackWriter(path, width, height, rate, encoding, sample_rate=sample_rate, channels=channels)


def held(encoding: Encoding, num_frames: int, rate: Fraction, audio: bool) -> tuple[int, bool]:
    """How many of ``num_frames`` are in the file, and whether it has sound."""
    if encoding.container == "gif":
        return shown_frames(num_frames, rate), False
    if encoding.container == "png":
        return 1, False
    return num_frames, audio
