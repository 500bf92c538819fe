"""``data:`` URIs (RFC 2397), decoded piece by piece: 50 MiB of picture never stand twice in memory."""

import binascii
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

from stillmotion.errors import FileDownloadError
from stillmotion.files.streams import MIB, check_size, removed_on_failure

_HEADER = re.compile(r"data:([^,]{0,1024}),", re.IGNORECASE)
_BASE64 = re.compile(r";\s*base64\s*\Z", re.IGNORECASE)
_QUADS = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_PIECE = MIB
"""Characters decoded at a time. The decoder holds the interpreter's lock, 4 ms for this many."""


def is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def write_data_uri(text: str, target: Path, max_bytes: int | None = None) -> int:
    """Decodes a data URI to a file and gives its size in bytes; its media type is ignored. Blocks.

    Base64 is read strictly (RFC 4648: padded, no white space, nothing after the padding). Raises FileTooLargeError
    past ``max_bytes``, for base64 before anything is decoded, and FileDownloadError for what is malformed or empty;
    then no file is left.
    """
    with removed_on_failure(target), target.open("wb") as file:
        return sum(map(file.write, _decode(text, max_bytes)))


def _decode(text: str, max_bytes: int | None) -> Iterator[bytes]:
    match = _HEADER.match(text)
    if match is None:
        raise FileDownloadError("the data URI has no comma after its media type")
    start = match.end()
    if start == len(text):
        raise FileDownloadError("the data URI is empty")
    if not text.isascii():
        raise FileDownloadError("the data URI contains a character that is not ASCII")
    is_base64 = _BASE64.search(match[1]) is not None
    if is_base64 and text.find("%", start) < 0:
        check_size((len(text) - start) // 4 * 3 - text.count("=", -2), max_bytes)
    pieces = _unescaped(text, start)
    size = 0
    for piece in _base64_decoded(pieces) if is_base64 else pieces:
        size += len(piece)
        check_size(size, max_bytes)
        yield piece


def _unescaped(text: str, start: int) -> Iterator[bytes]:
    """``text`` from ``start`` on with its percent escapes resolved; a piece never ends inside an escape."""
    while start < len(text):
        end = start + _PIECE
        if end < len(text) and (escape := text.find("%", end - 2, end)) >= 0:
            end = escape
        yield unquote_to_bytes(text[start:end])
        start = end


def _base64_decoded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    pending = b""
    ended = False
    for piece in pieces:
        pending += piece
        whole = len(pending) // 4 * 4
        quads, pending = pending[:whole], pending[whole:]
        # Checked here because the library's own strict mode accepts "QUJD====" in some releases of Python.
        if ended or not _QUADS.fullmatch(quads):
            raise _not_base64()
        ended = quads.endswith(b"=")
        yield binascii.a2b_base64(quads)
    if pending:
        raise _not_base64()


def _not_base64() -> FileDownloadError:
    return FileDownloadError("the data URI is not valid base64")
