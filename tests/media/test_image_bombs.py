"""Hostile, broken and oversized pictures: refused with the right error, before they cost anything."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stillmotion.errors import (
    FileTooLargeError,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    InputError,
    UnsupportedImageError,
)
from stillmotion.media.image import ImageInfo, ImageLimits, decode, probe
from stillmotion.media.sandbox import normalise

LIMITS = ImageLimits()
BlankPng = Callable[[int, int], Path]


def encoded(picture: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def lying_avif(photograph: Image.Image) -> bytes:
    """A small AVIF whose header says 84 megapixels."""
    content = bytearray(encoded(photograph, "AVIF"))
    at = content.index(b"ispe") + 8
    content[at : at + 8] = (12_000).to_bytes(4) + (7_000).to_bytes(4)
    return bytes(content)


def lying_webp(width: int, height: int) -> bytes:
    """The header of an extended WebP of that size, and no pixels."""
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + sizes
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


async def test_a_small_file_of_169_megapixels_is_refused(tmp_path: Path, blank_png: BlankPng) -> None:
    path = blank_png(13_000, 13_000)
    assert path.stat().st_size < 25_000
    with pytest.raises(ImageTooLargeError) as refused:
        probe(path, LIMITS)
    assert refused.value.ctx == {"max_width": 16_384, "max_height": 16_384}
    with pytest.raises(ImageTooLargeError) as across:
        await normalise(path, tmp_path / "out.png", LIMITS)
    assert (across.value.ctx, across.value.message) == (refused.value.ctx, refused.value.message)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(("width", "height"), [(12_000, 7_000), (16_384, 16_384), (1 << 24, 100)])
async def test_a_webp_canvas_is_not_allocated(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "p").write_bytes(lying_webp(width, height))
    with pytest.raises(ImageTooLargeError):
        await normalise(tmp_path / "p", tmp_path / "out.png", LIMITS)


async def test_an_avif_of_84_megapixels_is_refused(tmp_path: Path, photograph: Image.Image) -> None:
    (tmp_path / "p").write_bytes(lying_avif(photograph))
    with pytest.raises(ImageTooLargeError):
        await normalise(tmp_path / "p", tmp_path / "out.png", LIMITS)


async def test_memory_is_bounded_by_the_child(tmp_path: Path, blank_png: BlankPng) -> None:
    """1.6 GB of pixels with the limits lifted: the child gives up, nothing else notices."""
    lifted = ImageLimits(max_pixels=1 << 40, max_side=1 << 20)
    with pytest.raises(ImageLoadError):
        await normalise(blank_png(40_000, 40_000), tmp_path / "out.png", lifted)
    assert not (tmp_path / "out.png").exists()


async def test_a_slow_picture_is_given_up_and_its_process_ended(tmp_path: Path, blank_png: BlankPng) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ImageLoadError, match="too long"):
        await normalise(blank_png(8_000, 8_000), tmp_path / "out.png", LIMITS, timeout=0.2)
    assert {child.pid for child in psutil.Process().children()} <= before
    assert not (tmp_path / "out.png").exists()


async def test_giving_up_the_wait_ends_the_process(tmp_path: Path, blank_png: BlankPng) -> None:
    before = {child.pid for child in psutil.Process().children()}
    task = asyncio.create_task(normalise(blank_png(8_000, 8_000), tmp_path / "out.png", LIMITS))
    async with asyncio.timeout(10):
        while {child.pid for child in psutil.Process().children()} <= before:
            assert not task.done()
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {child.pid for child in psutil.Process().children()} <= before


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, photograph: Image.Image, name: str) -> None:
    content = encoded(photograph, name)
    path = tmp_path / "p"
    for length in {*range(12, len(content), max(1, len(content) // 40)), *range(len(content) - 16, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(ImageLoadError):
            decode(path, LIMITS)


def test_a_cut_through_the_first_bytes_is_an_unknown_format(tmp_path: Path, photograph: Image.Image) -> None:
    for name in ("PNG", "JPEG", "WEBP", "AVIF"):
        (tmp_path / "p").write_bytes(encoded(photograph, name)[:2])
        with pytest.raises(UnsupportedImageError):
            probe(tmp_path / "p", LIMITS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["PNG", "JPEG", "WEBP", "AVIF"]),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_a_damaged_file_is_a_picture_or_an_input_error(
    tmp_path: Path, photograph: Image.Image, name: str, flips: list[tuple[int, int]]
) -> None:
    content = bytearray(encoded(photograph.resize((40, 32)), name))
    for position, value in flips:
        content[position % len(content)] = value
    (tmp_path / "p").write_bytes(content)
    try:
        picture = decode(tmp_path / "p", LIMITS)
    except InputError:
        return
    assert picture.mode == "RGB"


def test_bytes_are_counted_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p"
    with path.open("wb") as file:
        file.truncate(51 << 20)
    with pytest.raises(FileTooLargeError) as refused:
        probe(path, LIMITS)
    assert refused.value.ctx == {"max_size": 50 << 20}


def test_a_side_below_the_least_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (400, 31)).save(tmp_path / "p.png")
    with pytest.raises(ImageTooSmallError) as refused:
        probe(tmp_path / "p.png", LIMITS)
    assert refused.value.ctx == {"min_width": 32, "min_height": 32}


async def test_the_sandbox_gives_the_pixels_that_decode_gives(tmp_path: Path, photograph: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph.save(tmp_path / "p.jpg", exif=exif)
    info = await normalise(tmp_path / "p.jpg", tmp_path / "out.png", LIMITS)
    assert info == ImageInfo(width=96, height=160, format="JPEG")
    with Image.open(tmp_path / "out.png") as written:
        assert (written.format, written.mode, written.size) == ("PNG", "RGB", (96, 160))
        assert np.array_equal(np.asarray(written), np.asarray(decode(tmp_path / "p.jpg", LIMITS)))
        assert not written.getexif()


async def test_a_huge_picture_is_shrunk_but_told_whole(tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((6000, 3000)).save(tmp_path / "p.jpg")
    info = await normalise(tmp_path / "p.jpg", tmp_path / "out.png", LIMITS)
    assert (info.width, info.height) == (6000, 3000)
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == (4096, 2048)


async def test_errors_keep_their_class_and_context_across_the_border(tmp_path: Path) -> None:
    cases: list[tuple[bytes, type[InputError]]] = [
        (b"no picture", UnsupportedImageError),
        (encoded(Image.new("RGB", (8, 8)), "PNG"), ImageTooSmallError),
        (encoded(Image.new("RGB", (64, 64)), "PNG")[:60], ImageLoadError),
    ]
    for content, kind in cases:
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(kind) as local:
            decode(tmp_path / "p", LIMITS)
        with pytest.raises(kind) as across:
            await normalise(tmp_path / "p", tmp_path / "out.png", LIMITS)
        assert across.value.details == local.value.details


async def test_a_missing_file_is_not_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await normalise(tmp_path / "absent", tmp_path / "out.png", LIMITS)
    assert not (tmp_path / "out.png").exists()
