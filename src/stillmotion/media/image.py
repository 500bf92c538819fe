"""Pictures from strangers: what they are, and their upright RGB pixels.

Accepted are PNG, JPEG, WebP, AVIF and, with the package pi-heif, HEIF, told apart by their first bytes. An animation
counts as its first frame; colour profiles are ignored. Nothing is decoded before the file's bytes, sides and pixels
have passed ``ImageLimits``.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from stillmotion.errors import (
    FileTooLargeError,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    InputError,
    UnsupportedImageError,
)
from stillmotion.media import heif


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """Bounds of an input picture, as it is stored (before any turn)."""

    max_bytes: int = 50 << 20
    max_pixels: int = 64_000_000
    """A 64 megapixel WebP needs about 1 GB to decode; phones and cameras stay below 64."""
    max_side: int = 16_384
    min_side: int = 32
    """One cell of the video model's grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """A picture's upright size in pixels and its format: ``PNG``, ``JPEG``, ``WEBP``, ``AVIF`` or ``HEIF``."""

    width: int
    height: int
    format: str


_SIGNATURES = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("WEBP", 8, b"WEBP"),
)
"""Format, and the bytes that files of it have at an offset."""

_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
}
"""Format, and the brands (ISO/IEC 14496-12, 4.3) that files of it carry; the first known one decides."""

_ANY_HEIF = (b"mif1", b"msf1")
"""Brands of the structure alone: AVIF files have them too."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, 4.6.5.1.6: the value of Orientation to the operation that makes the picture upright."""


def probe(path: Path, limits: ImageLimits) -> ImageInfo:
    """Size and format from the header alone. Raises an InputError as ``decode`` does, but for broken pixels."""
    with _opened(path, limits) as (image, name, turn):
        return _info(image, name, turn)


def decode(path: Path, limits: ImageLimits) -> Image.Image:
    """The picture upright and in RGB; transparent parts show white, as on a page.

    Raises FileTooLargeError, UnsupportedImageError, ImageTooLargeError, ImageTooSmallError, or ImageLoadError for a
    file that is cut short or broken.
    """
    return decode_within(path, limits, limits.max_side)[0]


def decode_within(path: Path, limits: ImageLimits, longest: int) -> tuple[Image.Image, ImageInfo]:
    """``decode``, shrunk (Lanczos) until no side is longer than ``longest``, and the info of the whole picture."""
    with _opened(path, limits) as (image, name, turn):
        info = _info(image, name, turn)
        image.load()
        if name == "PNG" and not _png_is_whole(path):
            raise ImageLoadError
        smooth = _smooth(image)
        # Shrunk before it is turned or composed, which then need less memory than decoding did.
        smooth.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        return _rgb(smooth if turn is None else smooth.transpose(turn)), info


@contextmanager
def _opened(path: Path, limits: ImageLimits) -> Iterator[tuple[Image.Image, str, Image.Transpose | None]]:
    """The picture with its header read and its limits checked; what Pillow raises inside becomes an InputError."""
    name = _sniff(path, limits)
    with warnings.catch_warnings():
        # Pillow warns of sizes (ours are checked below) and of metadata that it repairs.
        warnings.simplefilter("ignore")
        try:
            if name == "HEIF":
                heif.register()
            with Image.open(path, formats=[name]) as image:
                _check_size(image.size, limits)
                # The base method: PNG's own decodes all pixels in search of metadata behind them.
                orientation = Image.Image.getexif(image).get(_ORIENTATION, 1) if name != "HEIF" else 1
                yield image, name, _TURNS.get(orientation)
        except InputError:
            raise
        except Image.DecompressionBombError:
            raise _too_large(limits) from None
        except Exception as error:
            # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, MemoryError and more.
            raise ImageLoadError from error


def _sniff(path: Path, limits: ImageLimits) -> str:
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise FileTooLargeError(f"The image is larger than {limits.max_bytes} bytes.", max_size=limits.max_bytes)
    with path.open("rb") as file:
        name = _format(file.read(128))
    supported = supported_formats()
    if name in supported:
        return name
    message = f"The image format is not supported. Supported are {', '.join(supported)}."
    if name == "HEIF":
        message = f"HEIF images need {heif.INSTALL} on the server. {message}"
    raise UnsupportedImageError(message, supported_formats=[each.lower() for each in supported])


def supported_formats() -> tuple[str, ...]:
    """Names as in ``ImageInfo.format``, of what this installation can read."""
    return ("PNG", "JPEG", "WEBP", "AVIF", *(("HEIF",) if heif.installed() else ()))


def _format(head: bytes) -> str | None:
    for name, offset, signature in _SIGNATURES:
        if head[offset:].startswith(signature):
            return name
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4]), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    for brand in brands:
        for name, known in _BRANDS.items():
            if brand in known:
                return name
    return "HEIF" if any(brand in _ANY_HEIF for brand in brands) else None


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise _too_large(limits)
    if min(size) < limits.min_side:
        side = limits.min_side
        raise ImageTooSmallError(f"The image is smaller than {side}x{side}.", min_width=side, min_height=side)


def _too_large(limits: ImageLimits) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"The image has more than {limits.max_pixels} pixels or a side of more than {limits.max_side}.",
        max_width=limits.max_side,
        max_height=limits.max_side,
    )


def _info(image: Image.Image, name: str, turn: Image.Transpose | None) -> ImageInfo:
    width, height = image.size
    sideways = turn in (_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8])
    return ImageInfo(width=height if sideways else width, height=width if sideways else height, format=name)


def _png_is_whole(path: Path) -> bool:
    """Whether the file reaches its end mark; Pillow is content when the pixels are there."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"IEND":
                return len(file.read(4)) == 4
            file.seek(int.from_bytes(head[:4]) + 4, 1)
    return False


def _smooth(image: Image.Image) -> Image.Image:
    """The same picture with 8 bits per channel and no palette, which can be resampled."""
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion to 8 bits clips at 255 instead of scaling.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image)
    return page
