"""Whether a file is safetensors, told from its header, before anything opens it that could be misled.

The format: 8 bytes with the length of the header (little-endian), the header as JSON (name to dtype, shape and place),
then the tensors' bytes, one after the other and to the end of the file.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillmotion.errors import LoraLoadError

MAX_HEADER = 16 << 20
"""Bytes. The largest LoRA published for these models has a header of 0.5 MB; JSON of 16 MB takes about 150 MB."""
MAX_SIDES = 8

_BITS = {
    64: "F64 I64 U64",
    32: "F32 I32 U32",
    16: "F16 BF16 I16 U16",
    8: "F8_E4M3 F8_E5M2 F8_E8M0 I8 U8 BOOL",
}
BITS = {dtype: bits for bits, dtypes in _BITS.items() for dtype in dtypes.split()}

_IMPOSTORS = (
    (b"PK\x03\x04", "a PyTorch checkpoint, which can run code when it is opened"),
    (b"\x80", "a pickle, which can run code when it is opened"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was not uploaded"),
    (b"<", "a web page: the link is not one to the file itself"),
    (b"{", "JSON text"),
)
"""First bytes of what is often found in its place; read as the length of a header, all but the second are too long."""


def check_safetensors(path: Path) -> None:
    """Raises LoraLoadError, with what the file is instead where that can be told; reads the header alone."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(32)
        length = int.from_bytes(start[:8], "little")
        if len(start) < 8 or length > min(MAX_HEADER, size - 8):
            raise LoraLoadError(f"the file is not safetensors but {_what(start)}")
        file.seek(8)
        raw = file.read(length)
    _check_places(_header(raw), size - 8 - length)


def _what(start: bytes) -> str:
    return next((name for magic, name in _IMPOSTORS if start.startswith(magic)), "something else")


def _header(raw: bytes) -> Mapping[str, Any]:
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise LoraLoadError("the header of the safetensors file is not valid JSON") from None
    if not isinstance(header, dict):
        raise LoraLoadError("the header of the safetensors file is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise LoraLoadError("the metadata of the safetensors file are not texts")
    if not header:
        raise LoraLoadError("the safetensors file has no tensors")
    return header


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _check_places(tensors: Mapping[str, Any], size: int) -> None:
    """The tensors' bytes must follow each other from the header to the end of the file, without gap or overlap."""
    places = sorted(_place(name, tensor) for name, tensor in tensors.items())
    starts, ends = [start for start, _ in places], [end for _, end in places]
    if starts[0] != 0 or ends[-1] != size or any(end != start for end, start in zip(ends, starts[1:], strict=False)):
        raise LoraLoadError("the tensors of the safetensors file do not fill it: it was cut short or is damaged")


def _place(name: str, tensor: Any) -> tuple[int, int]:
    fault = LoraLoadError(f"the safetensors file describes the tensor {name[:100]!r} wrongly")
    if not isinstance(tensor, dict) or tensor.keys() != {"dtype", "shape", "data_offsets"}:
        raise fault
    dtype, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS or not _are_counts(shape) or not _are_counts(offsets):
        raise fault
    if len(shape) > MAX_SIDES or len(offsets) != 2 or 8 * (offsets[1] - offsets[0]) != math.prod(shape) * BITS[dtype]:
        raise fault
    return offsets[0], offsets[1]


def _are_counts(values: Any) -> bool:
    """Whole numbers that fit the format's 64 bits."""
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 for value in values
    )
