"""The program that ``sandbox.normalise`` runs: one order as JSON in its argument, one answer as JSON on stdout.

Imports little (no asyncio, which ``confined.obey`` would bring): the start is most of what a small picture costs.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image

from stillmotion.errors import ImageLoadError, InputError
from stillmotion.media.confinement import confine, end_with_parent
from stillmotion.media.image import ImageLimits, decode_within

MEMORY = 1536 << 20
"""Bytes of address space: a 64 megapixel WebP with transparency, the hungriest picture within the limits, fits."""

CPU_SECONDS = 20

LONGEST_SIDE = 4096
"""The largest delivery is 3840 wide; a larger picture only costs time in every later step."""

FAST = 1
"""zlib level: the PNG is read once on this machine; the default level 6 takes four times as long."""


def main() -> None:
    order = json.loads(sys.argv[1])
    end_with_parent(order["parent"])
    confine(memory=MEMORY, cpu_seconds=CPU_SECONDS, niceness=5)
    json.dump(_answer(order), sys.stdout)


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    limits = ImageLimits(**order["limits"])
    # One thread per core is Pillow's default; each maps up to 72 MB (stack, arena) of the address space we bound.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 2
    # Pillow refuses twice this before it allocates a canvas for formats whose decoder wants one up front.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels // 2
    try:
        image, info = decode_within(Path(order["source"]), limits, LONGEST_SIDE)
        image.save(order["target"], "PNG", compress_level=FAST)
    except InputError as error:
        return _error(error)
    except MemoryError:
        return _error(ImageLoadError())
    return {"info": asdict(info)}


def _error(error: InputError) -> dict[str, Any]:
    return {"error": {"type": error.type, "message": error.message, "ctx": error.ctx}}


if __name__ == "__main__":
    main()
