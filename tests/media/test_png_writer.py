"""PNG files: one picture, read back with Pillow and with FFmpeg."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import encoding, rgb_of_planes, write

from stillmotion.media.probe import probe_media
from stillmotion.media.rates import frame_rate


def test_the_first_picture_alone(tmp_path: Path, pan: np.ndarray) -> None:
    path = tmp_path / "v.png"
    write(path, pan, encoding("png"), frame_rate(25))
    media = probe_media(path)
    height, width = pan.shape[1] * 2 // 3, pan.shape[2]
    assert (media.width, media.height, media.num_frames, media.has_audio) == (width, height, 1, False)
    assert (media.content_type, media.size) == ("image/png", path.stat().st_size)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        found = np.asarray(image)
    first, later = (rgb_of_planes(planes)[0] for planes in (pan[:1], pan[-1:]))
    assert np.array_equal(found, first)
    assert not np.array_equal(found, later)


def test_what_cannot_be(tmp_path: Path, pan: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write(tmp_path / "v.png", pan[:0], encoding("png"), frame_rate(25))
    assert not (tmp_path / "v.png").exists()
