"""The program behind ``playable.write_playable``: reads a video picture by picture and writes it again."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from stillmotion.job import Encoding
from stillmotion.media.confined import obey
from stillmotion.media.containers import open_writer

MEMORY = 3 << 30
"""Bytes of address space: a decoder of 2160p ProRes 4444 and x264 map 1.5 GB on 16 cores."""
CPU_SECONDS = 1800
ENCODING = Encoding(container="mp4", quality="medium", write_mode="fast")
SMOOTH = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


def main() -> None:
    obey(_copy, memory=MEMORY, cpu_seconds=CPU_SECONDS, niceness=10)


def _copy(order: dict[str, Any]) -> None:
    source = Path(order["source"])
    sound, sample_rate = _sound(source) if order["sound"] else (None, 0)
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        width, height = _within(stream.width, stream.height, order["width"], order["height"])
        writer = open_writer(
            order["target"],
            width,
            height,
            _rate(source),
            ENCODING,
            sample_rate=None if sound is None else sample_rate,
            channels=2 if sound is None else sound.shape[0],
        )
        with writer:
            if sound is not None:
                writer.write_audio(sound)
            for picture in _pictures(container, width, height):
                writer.write(picture)


def _pictures(container: av.container.InputContainer, width: int, height: int) -> Iterator[npt.NDArray[np.uint8]]:
    """``(1, height * 3 // 2, width)`` each: planar 4:2:0, BT.709 limited, as the encoders take it."""
    converter = VideoReformatter()
    for frame in container.decode(video=0):
        coloured = frame.format.is_rgb or frame.format.name.startswith("pal")
        converted = converter.reformat(
            frame,
            width=width,
            height=height,
            format="yuv420p",
            src_colorspace=None if coloured else Colorspace.ITU709,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG if coloured else ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=SMOOTH,
        )
        picture: npt.NDArray[np.uint8] = np.asarray(converted.to_ndarray(), np.uint8)
        yield picture[None]


def _rate(source: Path) -> Fraction:
    """Pictures per second; of a GIF, whose pictures last unequally long, the average, so that the length is kept."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        if container.format.name == "gif" and stream.duration and stream.time_base:
            return count / (stream.duration * stream.time_base)
        return Fraction(stream.average_rate or 25)


def _sound(source: Path) -> tuple[npt.NDArray[np.float32] | None, int]:
    """``(channels, samples)`` in -1..1 and the sample rate: 20 seconds of it are 8 MB."""
    with av.open(str(source)) as container:
        if not container.streams.audio:
            return None, 0
        stream = container.streams.audio[0]
        layout = "mono" if stream.channels == 1 else "stereo"
        to_float = av.AudioResampler("fltp", layout, stream.rate)
        pieces = [piece.to_ndarray() for frame in container.decode(stream) for piece in to_float.resample(frame)]
        return (np.concatenate(pieces, axis=1), stream.rate) if pieces else (None, 0)


def _within(width: int, height: int, most_wide: int, most_high: int) -> tuple[int, int]:
    """The same shape within the box, which turns with it, in even sides; never larger."""
    if height > width:
        most_wide, most_high = most_high, most_wide
    scale = min(1.0, most_wide / width, most_high / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


if __name__ == "__main__":
    main()
