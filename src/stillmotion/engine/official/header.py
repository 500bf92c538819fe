"""What a safetensors file says of its tensors, checked against the file before any tensor is read.

The format: 8 bytes N, little-endian; N bytes of JSON, name to ``{"dtype", "shape", "data_offsets"}``; the tensors'
data, in one piece without gaps. A file is somebody else's: nothing it says is believed before it is checked, and
reading a header costs at most some tens of megabytes whatever the file holds.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from stillmotion.errors import BundleError

MAX_HEADER = 8_000_000
"""Bytes. The largest published header, of LTX-2.3 22B in fp8, has about 1.3 million."""
_MAX_COMMAS = 200_000
"""They bound how many values a header can hold, hence what parsing it costs. LTX-2.3 22B's has about 50 thousand."""
_MAX_RANK = 8
_MAX_SIZE = 2**48

ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
"""The format's types and their sizes. Its types of less than a byte are in none of these models' files."""

_NOT_WEIGHTS = (
    (b"version ", "is a Git LFS pointer, not the file that it stands for: download the file itself"),
    (b"PK\x03\x04", "is a zip or pickle archive, not safetensors"),
    (b"GGUF", "is a GGUF file, not safetensors"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its type, and its bytes ``begin`` to ``end`` of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    path: Path
    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Raises BundleError for what is no whole safetensors file, with the reason."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = _header_length(path, start, size)
            raw = file.read(length)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(raw) < length:
        raise BundleError(f"{path} is cut off within its header: download it again")
    data = _parse(path, raw)
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BundleError(f"{path} is damaged: its metadata are not texts")
    begin = 8 + length
    tensors = {name: _entry(path, name, value, begin) for name, value in data.items()}
    _check_extent(path, tensors, begin, size)
    return Header(path, tensors, metadata)


def _header_length(path: Path, start: bytes, size: int) -> int:
    length = int.from_bytes(start, "little")
    if len(start) == 8 and 2 <= length <= MAX_HEADER:
        return length
    # Only now what else it may be: a sound length can begin with the bytes of a signature, 15392 with those of " <".
    for signature, what in _NOT_WEIGHTS:
        if start.startswith(signature):
            raise BundleError(f"{path} {what}")
    if start.lstrip().startswith(b"<"):
        raise BundleError(f"{path} is a web page, not safetensors: what was downloaded was an answer in HTML")
    if len(start) < 8 or length < 2:
        raise BundleError(f"{path} is not a safetensors file: it has {size} bytes and no header")
    raise BundleError(
        f"{path} is not a safetensors file of these models: its header would have {length} bytes; "
        f"{MAX_HEADER} are allowed"
    )


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    if raw.count(b",") > _MAX_COMMAS:
        raise BundleError(f"{path} is not a safetensors file of these models: its header has too many entries")
    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse)
    except RecursionError:
        raise BundleError(f"{path} is damaged: its header is nested too deeply") from None
    except ValueError as error:
        raise BundleError(f"{path} is damaged: its header is not the JSON that it should be ({error})") from None
    if not isinstance(data, dict):
        raise BundleError(f"{path} is damaged: its header is not a JSON object")
    return data


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name occurs twice")
    return names


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _entry(path: Path, name: str, value: Any, data_begin: int) -> Entry:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            numbers = [*shape, begin, end]
        case _:
            raise BundleError(f"{path} is damaged: {_quoted(name)} lacks dtype, shape or data_offsets")
    # JSON's true is an int to isinstance.
    if any(type(number) is not int or not 0 <= number < _MAX_SIZE for number in numbers) or len(shape) > _MAX_RANK:
        raise BundleError(f"{path} is damaged: {_quoted(name)} has an impossible shape or place")
    if dtype not in ITEM_BYTES:
        raise BundleError(f"{path}: {_quoted(name)} has the unknown type {_quoted(dtype)}")
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise BundleError(f"{path} is damaged: {_quoted(name)} has {end - begin} bytes for {dtype} {shape}")
    return Entry(dtype, tuple(shape), data_begin + begin, data_begin + end)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}...")


def _check_extent(path: Path, tensors: Mapping[str, Entry], begin: int, size: int) -> None:
    """That the tensors lie one behind the other from ``begin`` to the end of the file."""
    reached = begin
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != reached:
            raise BundleError(f"{path} is damaged: {_quoted(name)} begins at byte {entry.begin}, not at {reached}")
        reached = entry.end
    if size < reached:
        raise BundleError(f"{path} is cut off: it has {size} of {reached} bytes. Download it again")
    if size > reached:
        raise BundleError(f"{path} is damaged: {size - reached} bytes follow its last tensor")
