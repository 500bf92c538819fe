"""Headers of safetensors files: what is refused, at which cost, whatever the bytes are."""

import json
import os
import struct
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from official_layout import PUBLISHED, manifest, tiny_config, tiny_tensors, write_bundle, write_raw, write_sparse

from stillmotion.engine.official.header import MAX_HEADER, read_header
from stillmotion.engine.official.verify import verify_checkpoint
from stillmotion.errors import BundleError
from stillmotion.job import Family

PROJECTION = "text_embedding_projection.aggregate_embed.weight"


@pytest.mark.parametrize(
    "header",
    [
        b"{}" + b" " * 6,
        b"[]" + b" " * 6,
        b'{"__metadata__": {"config": 3}}',
        b'{"a": 3}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "more": 1}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "Q4_K", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [99999999999999999999999], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}}',
        b'{"\xff": 3}',
        b'{"a": ' * 50_000,
        b"[" * 100_000,
        b"9" * 10_000,
        b"\x00" * 64,
    ],
)
def test_a_header_that_lies_is_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_raw(path, header, 8)
    with pytest.raises(BundleError):
        read_header(path)


DENSE = {
    "objects": b'{"a":[' + b"{}," * 199_000 + b"{}]}",
    "names": b"{" + b",".join(b'"%d":{}' % number for number in range(150_000)) + b"}",
    "commas": b"[" + b"0," * (MAX_HEADER // 2 - 2) + b"0]",
    "one name": b'{"' + b"x" * (MAX_HEADER - 10) + b'":0}',
    "one number": b'{"a":' + b"1" * (MAX_HEADER - 10) + b"}",
    "escapes": b'{"' + b"\\u1234" * (MAX_HEADER // 6 - 2) + b'":0}',
}


@pytest.mark.parametrize("kind", DENSE)
def test_no_header_takes_100_mb(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    assert len(DENSE[kind]) <= MAX_HEADER
    write_raw(path, DENSE[kind], 0)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError):
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def small(bundles: Mapping[Family, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The tiny LTX-2 file without its data."""
    bundle = bundles["ltx-2"]
    folder = tmp_path_factory.mktemp("small") / "bundle"
    write_bundle(folder, bundle, tiny_tensors(bundle, "ltx-2"), tiny_config(bundle, "ltx-2"))
    raw = (folder / "checkpoint.safetensors").read_bytes()
    return raw[: 8 + int.from_bytes(raw[:8], "little")]


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@FUZZ
@given(start=st.binary(max_size=16), text=st.binary(max_size=200), size=st.integers(0, 500))
def test_any_bytes_are_refused(tmp_path: Path, start: bytes, text: bytes, size: int) -> None:
    path = tmp_path / "file.safetensors"
    for raw in (start + text, struct.pack("<Q", len(text)) + text):
        path.write_bytes(raw + bytes(size))
        with pytest.raises(BundleError):
            verify_checkpoint(path, "ltx-2")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F8_E4M3", "I64", ""]) | JSON,
        "shape": st.lists(st.integers(-1, 9), max_size=3) | JSON,
        "data_offsets": st.tuples(st.integers(-1, 9), st.integers(-1, 9)) | JSON,
    }
)


@FUZZ
@given(
    header=JSON
    | st.dictionaries(st.sampled_from(["__metadata__", "vae.x", PROJECTION, "a"]) | st.text(max_size=9), ENTRY | JSON)
)
def test_any_json_is_refused(tmp_path: Path, header: object) -> None:
    path = tmp_path / "file.safetensors"
    write_raw(path, json.dumps(header).encode(), 4)
    with pytest.raises(BundleError):
        verify_checkpoint(path, "ltx-2")


@FUZZ
@given(data=st.data())
def test_a_damaged_header_is_refused_or_still_a_header(small: bytes, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever a few changed bytes make of it, it is a BundleError or a header that holds together."""
    raw = bytearray(small)
    size = len(raw) + max(entry["data_offsets"][1] for name, entry in json.loads(raw[8:]).items() if name[0] != "_")
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "file.safetensors"
    path.write_bytes(raw)
    os.truncate(path, size)
    with suppress(BundleError):
        verify_checkpoint(path, "ltx-2")
        tensors = read_header(path).tensors
        assert min(entry.begin for entry in tensors.values()) == len(small)
        assert sum(entry.end - entry.begin for entry in tensors.values()) == size - len(small)


SIGNATURES = (b"<", b" <", b"\n<", b"\t\n<", b"PK", b"ve", b"GG", b"\x80\x02")


@FUZZ
@given(begin=st.sampled_from(SIGNATURES) | st.binary(min_size=1, max_size=2), high=st.integers(0, 3))
@example(begin=b" <", high=0)
@example(begin=b" <", high=3)
def test_a_length_that_reads_as_text_is_a_length(tmp_path: Path, begin: bytes, high: int) -> None:
    """15392 + 65536 n are the bytes of " <", 60 + 256 n those of "<": what a page begins with, and a header too."""
    length = int.from_bytes(begin[:2].ljust(2, b"\0") + bytes((high,)), "little")
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path = tmp_path / "file.safetensors"
    if length >= len(header):
        path.write_bytes(struct.pack("<Q", length) + header.ljust(length) + bytes(4))
        assert read_header(path).tensors.keys() == {"a"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!doctype html><html></html>", "is a web page"),
        (b"\r\n\n <html></html>", "is a web page"),
        (b"<a>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(60), "is a zip or pickle archive"),
        (b"GGUF" + bytes(60), "is a GGUF file"),
        (b"\x01" + bytes(7), "no header"),
        (b"{" * 20, "would have"),
    ],
)
def test_what_a_file_is_instead_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=told):
        read_header(path)


def test_the_largest_published_header_is_far_below_the_limit(tmp_path: Path) -> None:
    path = write_sparse(PUBLISHED["ltx-2.3"], tmp_path / "file.safetensors")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        commas = file.read(length).count(b",")
    assert length * 5 < MAX_HEADER
    assert commas * 3 < 200_000
    assert len(read_header(path).tensors) == len(manifest(PUBLISHED["ltx-2.3"])["tensors"])
