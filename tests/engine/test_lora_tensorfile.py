"""A LoRA file comes from anywhere: what is not a sound safetensors file is refused with the reason."""

import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stillmotion.engine.lora.tensorfile import DTYPES, TensorFile
from stillmotion.errors import BundleError, EngineError

FLOATS = sorted(DTYPES.values(), key=str)


def header(table: Any, data: bytes = b"") -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    text += b" " * (-len(text) % 8)  # as writers of the format do
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a.lora_A.weight": torch.zeros(1)}, buffer)
    return buffer.getvalue()


def pickled_as_of_old() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a safetensors file"),
        (b"\x10", "is not a safetensors file"),
        (pickled(), "pickle"),
        (pickled_as_of_old(), "is a pickle, which can run code when it is opened, not safetensors"),
        (b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (b"\n <html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF"),
        (b"\xff" * 64, "header would have"),
        (header({"a": entry()}), "is cut off"),
        (header({"a": entry()}, bytes(3)), "is cut off"),
        (header({"a": entry()}, bytes(5)), "follow its last tensor"),
        (header({"a": entry()}, bytes(4))[:-9], "is cut off"),
        (header(b"{"), "JSON"),
        (header(b"[" * 100_000), "header"),
        (header(b"[]"), "JSON object"),
        (header(b'{"a": 1, "a": 2}'), "twice"),
        (header({"a": entry(dtype="F8_E4M3", data_offsets=[0, 1])}, bytes(1)), "a is of type F8_E4M3, not one of"),
        (header({"a": entry(dtype="I64", data_offsets=[0, 8])}, bytes(8)), "a is of type I64, not one of"),
        (header({"a": entry(dtype="F4")}, bytes(4)), "type"),
        (header({"a": entry(shape=[2])}, bytes(4)), "4 bytes"),
        (header({"a": entry(shape=[-1])}, bytes(4)), "shape"),
        (header({"a": entry(shape=[True])}, bytes(4)), "shape"),
        (header({"a": entry(data_offsets=[4, 0])}, bytes(4)), "bytes"),
        (header({"a": entry(data_offsets=[0, 2**40])}, bytes(4)), "bytes"),
        (header({"a": entry(), "b": entry()}, bytes(8)), "overlap|damaged"),
        (header({"a": entry(), "b": entry(data_offsets=[8, 12])}, bytes(12)), "damaged"),
        (header({"__metadata__": {"alpha": 1}, "a": entry()}, bytes(4)), "metadata"),
    ],
)  # fmt: skip
def test_what_is_no_sound_safetensors_file_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(data)
    with pytest.raises(EngineError, match=reason) as error:
        TensorFile(path)
    # It is a stranger's file, not a bundle's, and its folder is nobody's business.
    assert not isinstance(error.value, BundleError)
    assert "lora.safetensors" in error.value.message
    assert str(tmp_path) not in error.value.message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in ((pipe, "is not a file"), (tmp_path, "is not a file"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(EngineError, match=reason):
            TensorFile(path)


tensors = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(st.lists(st.integers(0, 5), max_size=3), st.sampled_from(FLOATS)),
    max_size=6,
)


def drawn(shapes: dict[str, tuple[list[int], torch.dtype]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(shapes))
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, (shape, dtype) in shapes.items()}


@settings(max_examples=50, deadline=None)
@given(shapes=tensors, metadata=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_files_read_as_the_formats_own_library_reads_them(
    shapes: dict[str, tuple[list[int], torch.dtype]], metadata: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save_file(drawn(shapes), path, metadata=metadata or None)
        file, theirs = TensorFile(path), load_file(path)
        assert file.metadata == metadata
        assert file.entries.keys() == theirs.keys()
        for name, tensor in theirs.items():
            ours = file.read(name)
            assert (ours.dtype, ours.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(ours, tensor)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    """Whatever became of a file, it is either told or read without another error than ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save_file({"a.alpha": torch.ones(1), "b.lora_A.weight": torch.ones(2, 3)}, path)
        damaged = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, min(len(damaged) - 1, 220)))] = data.draw(st.integers(0, 255))
        del damaged[data.draw(st.integers(1, len(damaged))) :]
        path.write_bytes(damaged)
        try:
            file = TensorFile(path)
        except EngineError:
            return
        for name in file.entries:
            file.read(name)
        try:
            theirs = load_file(path)
        except SafetensorError:
            return
        assert theirs.keys() == file.entries.keys()


def test_a_file_that_changes_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(4)}, path)
    file = TensorFile(path)
    path.write_bytes(path.read_bytes()[:-1])
    for use in (lambda: file.read("a"), lambda: file.sha256):
        with pytest.raises(EngineError, match=r"a\.safetensors was changed while it was in use"):
            use()
    path.unlink()
    with pytest.raises(EngineError, match=r"a\.safetensors cannot be read: No such file"):
        file.read("a")


def test_a_large_file_is_not_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    sides = {"a": (0, 2**40), "b": (2**40, 2**40 + 4)}
    table = {
        name: {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}
        for name, (begin, end) in sides.items()
    }
    start = header(table)
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + 2**40)  # a terabyte of nothing
        file.seek(0, os.SEEK_END)
        file.write(torch.tensor([2.5]).numpy().tobytes())
    assert TensorFile(path).read("b").tolist() == [2.5]
