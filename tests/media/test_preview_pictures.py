"""Preview pictures as files: small whatever they show, and whole at any moment."""

import math
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stillmotion.media.preview import MAX_BYTES, SIDE, encode_preview, write_preview


@given(width=st.integers(1, 700), height=st.integers(1, 700), grain=st.booleans())
def test_every_picture_is_small(width: int, height: int, grain: bool) -> None:
    random = np.random.default_rng(width)
    picture = random.integers(0, 256 if grain else 1, (height, width, 3), dtype=np.uint8)
    content = encode_preview(picture)
    image = Image.open(BytesIO(content))
    assert image.format == "JPEG"
    assert len(content) <= MAX_BYTES
    whole = min(SIDE, max(width, height))
    # Pure grain of the full size does not fit at any quality.
    assert max(image.size) in ((whole, math.ceil(whole / 2)) if grain else (whole,))
    scale = max(image.size) / max(width, height)
    assert abs(image.size[0] - width * scale) <= 1
    assert abs(image.size[1] - height * scale) <= 1


def test_a_reader_meets_whole_pictures_only(tmp_path: Path) -> None:
    path, done = tmp_path / "preview.jpg", threading.Event()
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (180, 320, 3), dtype=np.uint8) for _ in range(4)]
    write_preview(pictures[0], str(path))
    whole = {encode_preview(picture) for picture in pictures}

    def write() -> None:
        end = time.monotonic() + 20
        while not done.is_set() and time.monotonic() < end:
            for picture in pictures:
                write_preview(picture, str(path))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert {path.read_bytes() for _ in range(3000)} <= whole
    finally:
        done.set()
        thread.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["preview.jpg"]
