"""HEIF and HEIC pictures, for Pillow, by the optional package pi-heif (libheif and libde265; it decodes only)."""

import importlib
import importlib.util

INSTALL = "pip install pi-heif"

THREADS = 2
"""Of the decoder. Each maps address space, which the decoding process has little of."""


def installed() -> bool:
    return importlib.util.find_spec("pi_heif") is not None


def register() -> None:
    """Has Pillow open the format ``HEIF``. Raises ImportError without the package.

    The decoder applies the file's own turns and mirrors (``irot``, ``imir``); the format says to ignore EXIF's.
    """
    importlib.import_module("pi_heif").register_heif_opener(thumbnails=False, decode_threads=THREADS)
