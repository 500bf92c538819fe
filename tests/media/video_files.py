"""Writing small files of every container, and reading them back with FFmpeg's demuxers and decoders."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from stillmotion.job import Encoding
from stillmotion.media.containers import open_writer
from stillmotion.media.writer import Writer

# A PNG is one picture; test_png_writer.py is about it.
CONTAINERS = tuple(name for name in get_args(Encoding.__annotations__["container"]) if name != "png")
TRACK_CONTAINERS = ("mp4", "webm", "mov")
QUALITIES = get_args(Encoding.__annotations__["quality"])
WRITE_MODES = get_args(Encoding.__annotations__["write_mode"])


def encoding(container: Any, **others: Any) -> Encoding:
    return Encoding(container=container, **{"write_mode": "fast", **others})


def writer_for(
    path: Path, yuv: np.ndarray, how: Encoding, rate: Fraction = Fraction(25), sample_rate: int | None = None
) -> Writer:
    """A writer for frames of the shape of ``yuv``."""
    _, rows, width = yuv.shape
    return open_writer(path, width, rows * 2 // 3, rate, how, sample_rate=sample_rate)


def write(path: Path, yuv: np.ndarray, how: Encoding, rate: Fraction = Fraction(25)) -> None:
    """A file without sound."""
    with writer_for(path, yuv, how, rate) as writer:
        writer.write(yuv)


def video_frames(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def rgb_frames(path: Path) -> np.ndarray:
    """``(n, height, width, 3)`` full-range RGB by the matrix that the file names."""
    return np.stack([_rgb(frame) for frame in video_frames(path)])


def rgb_of_planes(yuv: np.ndarray) -> np.ndarray:
    """What ``yuv`` (planar, BT.709, limited range) looks like."""
    frames = [av.VideoFrame.from_ndarray(picture, format="yuv420p") for picture in yuv]
    for frame in frames:
        frame.colorspace, frame.color_range = Colorspace.ITU709, ColorRange.MPEG
    return np.stack([_rgb(frame) for frame in frames])


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    # FFmpeg's quick conversion is up to two levels too dark.
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    return frame.reformat(format="rgb24", dst_color_range=ColorRange.JPEG, interpolation=exact).to_ndarray()


def sine(seconds: float, sample_rate: int, channels: int = 2, pitch: float = 440) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * sample_rate)) / sample_rate)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def sound(path: Path) -> np.ndarray:
    """The samples in -1..1 that a player plays: from time 0 to the end of the track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [frame for frame in container.decode(stream) if frame.pts >= 0]
        planar = av.AudioResampler("fltp")
        played = np.concatenate([part.to_ndarray() for frame in frames for part in planar.resample(frame)], axis=1)
        # WebM tells no length: there the decoder itself drops what lies behind the end.
        end = None if stream.duration is None else round(stream.duration * stream.time_base * stream.rate)
        return played[:, :end]


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2)))
