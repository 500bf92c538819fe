"""Every accepted format and colour mode becomes the same upright RGB picture."""

import importlib.util
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from stillmotion.errors import UnsupportedImageError
from stillmotion.media.image import ImageInfo, ImageLimits, decode, probe

LIMITS = ImageLimits()
ORIENTATION = 0x0112


def difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


@pytest.mark.parametrize(("name", "tolerance"), [("PNG", 0), ("JPEG", 4), ("WEBP", 4), ("AVIF", 4)])
def test_each_format_is_read(tmp_path: Path, photograph: Image.Image, name: str, tolerance: float) -> None:
    path = tmp_path / "picture"
    photograph.save(path, name, quality=95)
    assert probe(path, LIMITS) == ImageInfo(width=160, height=96, format=name)
    assert difference(decode(path, LIMITS), photograph) <= tolerance


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_the_extension_does_not_matter(tmp_path: Path, photograph: Image.Image, name: str) -> None:
    path = tmp_path / "picture.gif"
    photograph.save(path, name)
    assert probe(path, LIMITS).format == name


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_turn_is_applied(tmp_path: Path, photograph: Image.Image, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "turned"
    photograph.save(path, name, exif=exif, quality=95)
    tagged = photograph.copy()
    tagged.getexif()[ORIENTATION] = orientation
    upright = ImageOps.exif_transpose(tagged)

    info, decoded = probe(path, LIMITS), decode(path, LIMITS)
    assert (info.width, info.height) == upright.size == decoded.size
    assert difference(decoded, upright) <= 4


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_senseless_turn_is_ignored(tmp_path: Path, photograph: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photograph.save(tmp_path / "p.png", exif=exif)
    assert difference(decode(tmp_path / "p.png", LIMITS), photograph) == 0


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256 * 40).astype(np.uint16).reshape(40, 256)
    Image.fromarray(ramp).save(tmp_path / "p.png")
    grey = np.asarray(decode(tmp_path / "p.png", LIMITS))[..., 0].astype(float)
    assert np.abs(grey - ramp / 257).max() <= 1


def png_of_16_bits(path: Path, samples: np.ndarray) -> None:
    """``(height, width, channels)`` uint16 with 1 (grey) to 4 (RGBA) channels; Pillow writes only grey."""
    height, width, channels = samples.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_become_eight(tmp_path: Path, photograph: Image.Image, channels: int) -> None:
    """Grey, grey with transparency, RGB, RGB with transparency; the last channel of 2 and 4 is half transparent."""
    rgb = np.asarray(photograph)
    samples = rgb[..., :1] if channels < 3 else rgb
    expected = np.broadcast_to(samples, rgb.shape).astype(float)
    if channels in (2, 4):
        samples = np.concatenate([samples, np.full((96, 160, 1), 128, np.uint8)], axis=2)
        expected = 255 + (expected - 255) * 128 / 255
    png_of_16_bits(tmp_path / "p", samples.astype(np.uint16) * 257)
    assert np.abs(np.asarray(decode(tmp_path / "p", LIMITS)) - expected).max() <= 1.5


@pytest.mark.parametrize("name", ["PNG", "WEBP", "AVIF"])
def test_transparency_shows_white_in_every_format_that_has_it(tmp_path: Path, name: str) -> None:
    picture = Image.new("RGBA", (64, 64), (20, 120, 40, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 32, 64))
    picture.save(tmp_path / "p", name, quality=95)
    decoded = np.asarray(decode(tmp_path / "p", LIMITS)).astype(int)
    assert np.abs(decoded[20:40, 4:24] - 255).max() <= 4
    assert np.abs(decoded[20:40, 40:60] - [20, 120, 40]).max() <= 8


def test_grey_with_transparency_is_read(tmp_path: Path) -> None:
    picture = Image.new("LA", (64, 64), (90, 255))
    picture.paste((0, 0), (0, 0, 32, 64))
    picture.save(tmp_path / "p.png")
    decoded = decode(tmp_path / "p.png", LIMITS)
    assert (decoded.getpixel((5, 5)), decoded.getpixel((50, 5))) == ((255,) * 3, (90,) * 3)


def test_cmyk_is_read(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (255, 0, 0, 0)).save(tmp_path / "p.jpg", quality=95)
    pixel = np.array(decode(tmp_path / "p.jpg", LIMITS).getpixel((30, 30)))
    assert np.abs(pixel - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_opaque_modes_keep_their_colour(tmp_path: Path, photograph: Image.Image, mode: str) -> None:
    picture = photograph.convert(mode)
    picture.save(tmp_path / "p.png")
    assert difference(decode(tmp_path / "p.png", LIMITS), picture.convert("RGB")) == 0


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (64, 64), (200, 0, 0, 255))
    picture.paste((0, 0, 200, 0), (0, 0, 32, 64))
    picture.paste((0, 0, 0, 128), (32, 0, 64, 32))
    picture.save(tmp_path / "p.png")
    decoded = decode(tmp_path / "p.png", LIMITS)
    assert decoded.getpixel((10, 40)) == (255, 255, 255)
    assert decoded.getpixel((50, 10)) == (127, 127, 127)
    assert decoded.getpixel((50, 50)) == (200, 0, 0)


def test_a_transparent_palette_entry_shows_white(tmp_path: Path) -> None:
    picture = Image.new("P", (64, 64), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.paste(1, (0, 0, 32, 64))
    picture.save(tmp_path / "p.png", transparency=1)
    decoded = decode(tmp_path / "p.png", LIMITS)
    assert (decoded.getpixel((5, 5)), decoded.getpixel((50, 5))) == ((255, 255, 255), (10, 20, 30))


@pytest.mark.parametrize("name", ["PNG", "WEBP", "AVIF"])
def test_an_animation_counts_as_its_first_frame(tmp_path: Path, photograph: Image.Image, name: str) -> None:
    path = tmp_path / "animation"
    photograph.save(path, name, save_all=True, append_images=[ImageOps.invert(photograph)] * 2, duration=40, quality=95)
    assert difference(decode(path, LIMITS), photograph) <= 4


@pytest.mark.parametrize("name", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(tmp_path: Path, photograph: Image.Image, name: str) -> None:
    path = tmp_path / "picture.png"
    photograph.save(path, name)
    with pytest.raises(UnsupportedImageError) as refused:
        probe(path, LIMITS)
    heif = ["heif"] if importlib.util.find_spec("pi_heif") else []
    assert refused.value.ctx == {"supported_formats": ["png", "jpeg", "webp", "avif", *heif]}


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\nfile:///etc/passwd\n", b"<svg/>", b"%PDF-1.7", b"\x00" * 4096])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(UnsupportedImageError):
        decode(tmp_path / "p.png", LIMITS)
