"""An animated picture of a video, for a page that shows pictures."""

from pathlib import Path

import av
from av.video.reformatter import ColorRange
from PIL import Image

from stillmotion.errors import ConfigurationError

SUFFIXES = (".webp", ".gif")
FIRST_SECONDS, LAST_SECONDS = 0.5, 1.0
"""How long the ends stand, so that an eye that comes in the middle finds them."""


def check_preview(path: Path) -> None:
    """Raises ConfigurationError for a file that would be no animated picture."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"a preview is a {' or '.join(SUFFIXES)} file, not {path.name}")


def write_preview(video: Path, path: Path) -> None:
    """Every frame of ``video`` at its own pace, over and over."""
    check_preview(path)
    with av.open(str(video)) as container:
        rate = float(container.streams.video[0].guessed_rate or 25)
        frames = [
            Image.fromarray(frame.reformat(format="rgb24", dst_color_range=ColorRange.JPEG).to_ndarray())
            for frame in container.decode(video=0)
        ]
    durations = [round(1000 / rate)] * len(frames)
    durations[0], durations[-1] = round(1000 * FIRST_SECONDS), round(1000 * LAST_SECONDS)
    if path.suffix.lower() == ".gif":
        # One palette for all, or still parts would flicker.
        palette = frames[0].quantize(255, dither=Image.Dither.NONE)
        frames = [frame.quantize(palette=palette) for frame in frames]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=80, method=6)
