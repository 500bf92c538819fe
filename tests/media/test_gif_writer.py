"""GIF files, read back with FFmpeg and with Pillow."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from video_files import (
    QUALITIES,
    WRITE_MODES,
    encoding,
    psnr,
    rgb_frames,
    rgb_of_planes,
    sine,
    video_frames,
    write,
    writer_for,
)

from stillmotion.media.codecs import VIDEO
from stillmotion.media.gif_timing import shown_frames
from stillmotion.media.probe import probe_media
from stillmotion.media.rates import frame_rate
from stillmotion.media.yuv import planar


def delays(path: Path) -> list[int]:
    """Hundredths of a second that each picture stays, as Pillow reads them."""
    with Image.open(path) as image:
        return [frame.info["duration"] // 10 for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize("fps", [1, 23.976, 24, 25, 48, 50, 60])
def test_it_lasts_as_long_as_the_clip(tmp_path: Path, pan: np.ndarray, fps: float) -> None:
    path, rate = tmp_path / "v", frame_rate(fps)
    write(path, pan, encoding("gif"), rate)
    media = probe_media(path)
    count = shown_frames(49, rate)
    found = delays(path)
    assert (media.num_frames, media.content_type, media.has_audio) == (count, "image/gif", False)
    assert len(found) == count == sum(1 for _ in video_frames(path))
    assert min(found) >= 2
    assert max(found) - min(found) <= 1
    assert abs(sum(found) - 4900 / rate) <= Fraction(1, 2)
    assert media.duration == pytest.approx(sum(found) / 100)
    assert media.fps == pytest.approx(count / media.duration)
    if fps in (1, 25, 50):
        assert media.fps == fps


def test_above_fifty_the_pictures_of_the_moment_are_kept(tmp_path: Path) -> None:
    greys = np.repeat(np.arange(40, 100, dtype=np.uint8), 96 * 64).reshape(60, 96, 64)
    greys[:, 64:] = 128
    write(tmp_path / "v", greys, encoding("gif", write_mode="balanced"), Fraction(60))
    shown = [index for index in range(60) if index % 6 != 5]
    expected = rgb_of_planes(greys)[shown].mean(axis=(1, 2))
    assert np.abs(rgb_frames(tmp_path / "v").mean(axis=(1, 2)) - expected).max() <= 2


@pytest.mark.parametrize("write_mode", WRITE_MODES)
@pytest.mark.parametrize("quality", QUALITIES)
def test_a_picture_has_no_more_colours_than_its_quality_says(
    tmp_path: Path, pan: np.ndarray, quality: str, write_mode: str
) -> None:
    how = encoding("gif", quality=quality, write_mode=write_mode)
    write(tmp_path / "v", pan[:3], how)
    most = int(VIDEO["gif"][how.write_mode][how.quality]["max_colors"])
    for frame in rgb_frames(tmp_path / "v"):
        colours = len(np.unique(frame.reshape(-1, 3), axis=0))
        assert most // 2 < colours <= most


@pytest.mark.parametrize("write_mode", WRITE_MODES)
@pytest.mark.parametrize("size", [(96, 64), (98, 62), (102, 70), (130, 98)])
def test_every_even_size_keeps_its_pixels_and_colours(
    tmp_path: Path, photograph: Image.Image, size: Any, write_mode: str
) -> None:
    rgb = np.stack([np.asarray(photograph.resize(size)), np.asarray(photograph.rotate(180).resize(size))])
    yuv = planar(rgb)
    write(tmp_path / "v", yuv, encoding("gif", quality="maximum", write_mode=write_mode))
    pictures = rgb_frames(tmp_path / "v")
    assert psnr(pictures, rgb_of_planes(yuv)) > 30
    assert psnr(pictures[:, :, -4:], rgb_of_planes(yuv)[:, :, -4:]) > 28
    # A conversion that rounds down is 1.5 levels too dark.
    assert np.abs(pictures.mean(axis=(1, 2)) - rgb.mean(axis=(1, 2))).max() < 1
    with Image.open(tmp_path / "v") as image:
        seen = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    assert np.array_equal(np.stack(seen), pictures)


def test_a_shared_palette_follows_the_colours(tmp_path: Path) -> None:
    """In the fast mode one palette serves 6 pictures: what comes later in other colours gets its own."""
    red, blue = (np.full((64, 96, 3), colour, np.uint8) for colour in ((220, 40, 30), (20, 60, 210)))
    write(tmp_path / "v", planar(np.stack([red] * 6 + [blue] * 6)), encoding("gif"))
    pictures = rgb_frames(tmp_path / "v")
    assert np.abs(pictures[5].mean(axis=(0, 1)) - red[0, 0]).max() <= 4
    assert np.abs(pictures[6].mean(axis=(0, 1)) - blue[0, 0]).max() <= 4


def test_it_repeats_for_ever_and_has_no_sound(tmp_path: Path, pan: np.ndarray) -> None:
    with writer_for(tmp_path / "v", pan, encoding("gif"), sample_rate=24_000) as writer:
        writer.write_audio(sine(1, 24_000))
        writer.write(pan[:3])
    assert b"NETSCAPE2.0\x03\x01\x00\x00\x00" in (tmp_path / "v").read_bytes()
    with av.open(str(tmp_path / "v")) as file:
        assert [stream.type for stream in file.streams] == ["video"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(8, 40).map(lambda half: 2 * half),
    height=st.integers(8, 40).map(lambda half: 2 * half),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    fps=st.sampled_from([1, 23.976, 24, 50, 59.94, 60, 120]),
)
def test_any_size_and_any_chunks(tmp_path: Path, width: int, height: int, chunks: list[int], fps: float) -> None:
    path, rate = tmp_path / "v", frame_rate(fps)
    frames = np.empty((1, height * 3 // 2, width), np.uint8)
    with writer_for(path, frames, encoding("gif"), rate) as writer:
        for index, count in enumerate(chunks):
            writer.write(np.full((count, height * 3 // 2, width), 60 + 40 * index, np.uint8))
    count = sum(chunks)
    media = probe_media(path)
    assert (media.width, media.height, media.num_frames) == (width, height, shown_frames(count, rate))
    assert abs(media.duration - max(0.02, count / rate)) <= 0.005 + 1e-9
    assert all(later > earlier for earlier, later in itertools.pairwise(frame.pts for frame in video_frames(path)))
