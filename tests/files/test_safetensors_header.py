"""Files are judged as safetensors by their header alone: damage, lies, and other formats under the name."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.errors import LoraLoadError
from stillmotion.files.safetensors import check_safetensors


def write(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor(begin: int, end: int, dtype: str = "U8", shape: Any = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def test_sound_headers(tmp_path):
    for header, size in (
        ({"a": tensor(0, 8)}, 8),
        ({"b": tensor(4, 8), "a": tensor(0, 4), "__metadata__": {"format": "pt"}}, 8),
        ({"a": tensor(0, 8, "F32", [2, 1]), "empty": tensor(8, 8, "BF16", [0, 5])}, 8),
        ({"scalar": tensor(0, 2, "BF16", [])}, 2),
    ):
        check_safetensors(write(tmp_path / "x", header, bytes(size)))


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({}, 0),
        ({"__metadata__": {}}, 0),
        ([], 0),
        (b"not json", 0),
        (b'{"a": 1, "a": 2}', 0),
        (b"[" * 100_000, 0),
        (b'{"a": NaN}', 0),
        ({"a": tensor(0, 8)}, 7),
        ({"a": tensor(0, 8)}, 9),
        ({"a": tensor(1, 8)}, 8),
        ({"a": tensor(0, 4), "b": tensor(5, 8)}, 8),
        ({"a": tensor(0, 5), "b": tensor(4, 8)}, 8),
        ({"a": tensor(0, 8, "F32")}, 8),
        ({"a": tensor(0, 8, "PICKLE")}, 8),
        ({"a": tensor(0, 8, shape=[-8])}, 8),
        ({"a": tensor(0, 8, shape=[True] * 3)}, 8),
        ({"a": tensor(0, 8, shape="8")}, 8),
        ({"a": tensor(0, 8, shape=[1] * 9)}, 8),
        ({"a": {**tensor(0, 8), "code": "x"}}, 8),
        ({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0]}}, 8),
        ({"a": {"dtype": ["U8"], "shape": [8], "data_offsets": [0, 8]}}, 8),
        ({"a": tensor(0, 8), "__metadata__": {"x": 1}}, 8),
        ({"a": tensor(0, 8), "__metadata__": []}, 8),
        ({"a": tensor(0, 8, shape=[2**62, 2**62])}, 8),
    ],
)
def test_unsound_headers(tmp_path, header, size):
    with pytest.raises(LoraLoadError):
        check_safetensors(write(tmp_path / "x", header, bytes(size)))


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PK\x03\x04", "PyTorch checkpoint"),
        (b"\x80\x02}q", "pickle"),
        (b"GGUF\x03", "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS pointer"),
        (b"<html>", "web page"),
        (b'{"error": 1}', "JSON text"),
        (b"", "something else"),
        (b"1234567", "something else"),
    ],
)
def test_impostors_are_called_by_their_name(tmp_path, start, what):
    path = tmp_path / "x"
    path.write_bytes(start + bytes(200) if len(start) > 7 or what != "something else" else start)
    with pytest.raises(LoraLoadError, match=what):
        check_safetensors(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged_and_nothing_else_is_raised(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(content)
    with pytest.raises(LoraLoadError):
        check_safetensors(path)


@given(st.data())
def test_one_changed_byte_never_makes_a_place_outside_of_the_file(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.bin"
    content = bytearray(write(path, {"a.lora_A.weight": tensor(0, 80, "F32", [20])}, bytes(80)).read_bytes())
    content[data.draw(st.integers(0, len(content) - 81))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        check_safetensors(path)
    except LoraLoadError:
        return
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert all(end <= len(content) - 8 - length for name, entry in header.items() for end in entry["data_offsets"][1:])
