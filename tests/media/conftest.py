"""Pictures to read, made here: what a file holds is known exactly."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillmotion.media.yuv import planar


@pytest.fixture(scope="session")
def photograph() -> Image.Image:
    """160x96 RGB with smooth areas, edges and texture; no two quarters are alike."""
    y, x = np.mgrid[0:96, 0:160]
    texture = np.random.default_rng(0).normal(0, 6, (96, 160))
    red = 60 + x + texture
    green = 200 - 1.5 * y + 20 * np.sin(x / 9) + texture
    blue = np.where((x - 110) ** 2 + (y - 30) ** 2 < 400, 230, 40 + y) + texture
    return Image.fromarray(np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8))


def write_blank_png(path: Path, width: int, height: int) -> None:
    """A black 1-bit PNG of any size; a thousand pixels take about a bit."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


@pytest.fixture(scope="session")
def blank_png(tmp_path_factory: pytest.TempPathFactory):
    """``blank_png(width, height)``: the path of such a PNG."""
    folder = tmp_path_factory.mktemp("blank")

    def make(width: int, height: int) -> Path:
        path = folder / f"{width}x{height}.png"
        if not path.exists():
            write_blank_png(path, width, height)
        return path

    return make


@pytest.fixture(scope="session")
def pan(photograph: Image.Image) -> np.ndarray:
    """49 planar frames of 96x64 that glide over the photograph."""
    rgb = np.asarray(photograph)
    return planar(np.stack([rgb[i // 2 : i // 2 + 64, i : i + 96] for i in range(49)]))
