"""The comment of a GIF file (GIF89a, 24): text that no viewer shows."""

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_TRAILER = b"\x3b"
_EXTENSION, _IMAGE, _COMMENT = 0x21, 0x2C, 0xFE
_MAX_BLOCK = 255


def append_comment(path: str | Path, text: str) -> None:
    """Puts ``text`` (as UTF-8) before the end mark of a finished file. Raises ValueError if there is none."""
    data = text.encode()
    blocks = [data[at : at + _MAX_BLOCK] for at in range(0, len(data), _MAX_BLOCK)]
    with Path(path).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != _TRAILER:
            raise ValueError("the GIF has no end mark")
        file.seek(-1, os.SEEK_END)
        file.write(bytes([_EXTENSION, _COMMENT]))
        for block in blocks:
            file.write(bytes([len(block)]) + block)
        file.write(b"\0" + _TRAILER)


def read_comment(path: str | Path) -> str | None:
    """The first comment of a GIF; None if there is none, or the file ends too early."""
    with Path(path).open("rb") as file:
        header = file.read(13)
        _skip_palette(file, header[10:11])
        while kind := file.read(1):
            if kind[0] == _EXTENSION:
                label = file.read(1)
                data = b"".join(_blocks(file))
                if label and label[0] == _COMMENT:
                    return data.decode(errors="replace")
            elif kind[0] == _IMAGE:
                _skip_palette(file, file.read(9)[8:])
                file.read(1)  # the width of LZW's first codes
                for _ in _blocks(file):
                    pass
            else:
                break
    return None


def _skip_palette(file: BinaryIO, flags: bytes) -> None:
    """``flags`` as in the screen's and an image's descriptor: bit 7 says whether, bits 0 to 2 how large."""
    if flags and flags[0] & 0x80:
        file.seek(3 * (2 << (flags[0] & 7)), os.SEEK_CUR)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while (length := file.read(1)) and length[0]:
        yield file.read(length[0])


def last_comment(tail: bytes) -> str | None:
    """The comment that ends a GIF, as ``append_comment`` wrote it; ``tail`` is the end of the file."""
    mark = bytes([_EXTENSION, _COMMENT])
    at = tail.rfind(mark)
    while at >= 0:
        file = BytesIO(tail[at + len(mark) :])
        data = b"".join(_blocks(file))
        # The marks may occur in a picture or in the text; only in front of the end mark it is this comment.
        if data and file.read() == _TRAILER:
            return data.decode(errors="replace")
        at = tail.rfind(mark, 0, at)
    return None
