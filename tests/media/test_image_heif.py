"""HEIF and HEIC: upright pixels by the format's own turns, and the same limits and confinement as every format."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heif_files import heic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from requirements import need_package
from stillmotion.errors import ImageLoadError, ImageTooLargeError, ImageTooSmallError, InputError
from stillmotion.media.image import ImageInfo, ImageLimits, decode, probe
from stillmotion.media.sandbox import normalise

LIMITS = ImageLimits()
ORIENTATION = 0x0112


@pytest.fixture(autouse=True)
def _decoder() -> None:
    need_package("pi_heif", "pip install pi-heif")


def difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_it_is_read(tmp_path: Path, photograph: Image.Image, brand: bytes) -> None:
    (tmp_path / "p").write_bytes(heic(photograph, brand=brand))
    assert probe(tmp_path / "p", LIMITS) == ImageInfo(width=160, height=96, format="HEIF")
    assert difference(decode(tmp_path / "p", LIMITS), photograph) <= 5


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
async def test_the_files_own_turn_is_applied(tmp_path: Path, photograph: Image.Image, quarter_turns: int) -> None:
    (tmp_path / "p").write_bytes(heic(photograph, quarter_turns=quarter_turns))
    upright = photograph.rotate(90 * quarter_turns, expand=True)
    info = await normalise(tmp_path / "p", tmp_path / "out.png", LIMITS)
    assert (info.width, info.height) == upright.size
    with Image.open(tmp_path / "out.png") as written:
        assert difference(written, upright) <= 5


def test_the_files_own_mirror_is_applied(tmp_path: Path, photograph: Image.Image) -> None:
    (tmp_path / "p").write_bytes(heic(photograph, mirror=1))
    assert difference(decode(tmp_path / "p", LIMITS), ImageOps.mirror(photograph)) <= 5


@pytest.mark.parametrize("quarter_turns", [0, 3])
def test_the_exif_turn_is_not_applied_on_top(tmp_path: Path, photograph: Image.Image, quarter_turns: int) -> None:
    """Telephones write both; the format says that its own counts."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    tiff = exif.tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "p").write_bytes(heic(photograph, quarter_turns=quarter_turns, exif=tiff))
    assert difference(decode(tmp_path / "p", LIMITS), photograph.rotate(90 * quarter_turns, expand=True)) <= 5


async def test_a_header_of_169_megapixels_is_refused(tmp_path: Path, photograph: Image.Image) -> None:
    (tmp_path / "p").write_bytes(heic(photograph, told=(13_000, 13_000)))
    with pytest.raises((ImageTooLargeError, ImageLoadError)) as refused:
        await normalise(tmp_path / "p", tmp_path / "out.png", LIMITS)
    assert refused.type is ImageTooLargeError
    assert not (tmp_path / "out.png").exists()


async def test_a_large_picture_behind_a_small_header_costs_no_more_than_the_child_may(tmp_path: Path) -> None:
    """The header says 64x64, the coded picture is 4096x4096."""
    (tmp_path / "p").write_bytes(heic(Image.new("RGB", (4096, 4096), "teal"), told=(64, 64)))
    try:
        info = await normalise(tmp_path / "p", tmp_path / "out.png", LIMITS)
    except ImageLoadError:
        return
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == (info.width, info.height)


def test_a_small_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(heic(Image.new("RGB", (64, 64)), told=(16, 16)))
    with pytest.raises(ImageTooSmallError):
        probe(tmp_path / "p", LIMITS)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, photograph: Image.Image) -> None:
    content = heic(photograph)
    for length in range(24, len(content) - 8, max(1, len(content) // 40)):
        (tmp_path / "p").write_bytes(content[:length])
        with pytest.raises(ImageLoadError):
            decode(tmp_path / "p", LIMITS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_file_is_a_picture_or_an_input_error(
    tmp_path: Path, small_heic: bytes, flips: list[tuple[int, int]]
) -> None:
    content = bytearray(small_heic)
    for position, value in flips:
        content[position % len(content)] = value
    (tmp_path / "p").write_bytes(content)
    try:
        picture = decode(tmp_path / "p", LIMITS)
    except InputError:
        return
    assert picture.mode == "RGB"


@pytest.fixture(scope="module")
def small_heic(photograph: Image.Image) -> bytes:
    return heic(photograph.resize((64, 48)))


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, small_heic: bytes) -> None:
    """A process in which the package cannot be found: everything else still works."""
    (tmp_path / "p.heic").write_bytes(small_heic)
    Image.new("RGB", (64, 64)).save(tmp_path / "p.png")
    program = (
        "import importlib.machinery, pathlib, sys\n"
        "find = importlib.machinery.PathFinder.find_spec\n"
        "hide = lambda name, *rest: None if name == 'pi_heif' else find(name, *rest)\n"
        "importlib.machinery.PathFinder.find_spec = hide\n"
        "from stillmotion.errors import UnsupportedImageError\n"
        "from stillmotion.media.image import ImageLimits, decode\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "decode(folder / 'p.png', ImageLimits())\n"
        "try:\n"
        "    decode(folder / 'p.heic', ImageLimits())\n"
        "except UnsupportedImageError as error:\n"
        "    print(error.message, error.ctx)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "pip install pi-heif" in done.stdout
    assert "{'supported_formats': ['png', 'jpeg', 'webp', 'avif']}" in done.stdout
