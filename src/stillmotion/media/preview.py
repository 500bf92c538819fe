"""A small picture of a video that is being made, in a file that is replaced by each newer one."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 320
"""Longest side in pixels."""

MAX_BYTES = 20_000
"""Of the file: it is sent to every watcher, as base64, about once a second."""

_QUALITIES = (80, 60, 40, 20)
"""Pictures take 5 to 15 kB at the first; early estimates, which are mostly grain, need a lower one."""


def encode_preview(picture: npt.NDArray[np.uint8]) -> bytes:
    """``picture``, RGB (rows, columns, 3), as JPEG within ``SIDE`` and ``MAX_BYTES``; never enlarged."""
    image = Image.fromarray(picture)
    # In two steps, the first one a plain mean: 7 ms for a 1080p picture, encoded.
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    while True:
        for quality in _QUALITIES:
            encoded = BytesIO()
            image.save(encoded, "JPEG", quality=quality)
            if encoded.tell() <= MAX_BYTES:
                return encoded.getvalue()
        image = image.reduce(2)  # nothing but grain


def write_preview(picture: npt.NDArray[np.uint8], path: str) -> None:
    """Puts ``picture`` at ``path``; whoever reads there meets the one before or this one, never a part. OSError."""
    unfinished = Path(path).with_suffix(".part")
    unfinished.write_bytes(encode_preview(picture))
    unfinished.replace(path)
