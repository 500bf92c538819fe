"""Data URIs: strict base64, percent escapes, limits."""

import base64
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.errors import FileDownloadError, FileTooLargeError
from stillmotion.files.data_uris import is_data_uri, write_data_uri
from stillmotion.files.streams import MIB


def decoded(uri: str, max_bytes: int | None = None) -> bytes:
    with TemporaryDirectory() as folder:
        size = write_data_uri(uri, target := Path(folder) / "file", max_bytes)
        content = target.read_bytes()
    assert len(content) == size
    return content


headers = st.sampled_from(["data:", "DATA:", "data:image/png", "data:text/plain;charset=utf-8", "data:;name=a.png"])


@given(headers, st.binary(min_size=1), st.booleans())
def test_base64_round_trip(header: str, content: bytes, escaped: bool) -> None:
    payload = base64.b64encode(content).decode()
    if escaped:
        payload = payload.replace("=", "%3D").replace("+", "%2b")
    assert decoded(f"{header};base64,{payload}", len(content)) == content
    assert decoded(f"{header};BASE64,{payload}") == content


@given(headers, st.binary(min_size=1))
def test_percent_encoded_round_trip(header: str, content: bytes) -> None:
    assert decoded(f"{header},{quote_from_bytes(content)}", len(content)) == content


@pytest.mark.parametrize("shift", range(6))
def test_pieces_meet_without_a_seam(shift: int, tmp_path: Path) -> None:
    """Escapes and quads that straddle the borders of the 1 MiB pieces."""
    content = b"a" * shift + b"\xff\x00%41" * (MIB // 4)
    for uri in (
        f"data:,{'a' * shift}{quote_from_bytes(content)}",
        "data:;base64," + base64.b64encode(b"a" * shift + content).decode(),
        "data:;base64," + quote_from_bytes(base64.b64encode(b"a" * shift + content), safe=""),
    ):
        assert write_data_uri(uri, tmp_path / "file") == len(content) + shift
        assert (tmp_path / "file").read_bytes() == b"a" * shift + content


@given(st.binary(min_size=1, max_size=20), st.integers(1, 20))
def test_limit(content: bytes, limit: int) -> None:
    for uri in (f"data:;base64,{base64.b64encode(content).decode()}", f"data:,{quote_from_bytes(content, safe='')}"):
        if len(content) <= limit:
            assert decoded(uri, limit) == content
        else:
            with pytest.raises(FileTooLargeError) as caught:
                decoded(uri, limit)
            assert caught.value.ctx == {"max_size": limit}


def test_limit_comes_before_decoding() -> None:
    """What is too long is refused for its length, although it is no base64 either."""
    with pytest.raises(FileTooLargeError):
        decoded("data:;base64," + "!" * 4000, 1000)


MALFORMED = [
    *("data:", "data:image/png", "data:image/png;base64", "data:,", "data:;base64,", "data:" + "a" * 2000 + ",abc"),
    *("data:;base64,abc", "data:;base64,a", "data:;base64,ab=c", "data:;base64,=abc", "data:;base64,ab==cd=="),
    *(
        "data:;base64,QUJD QUJD",
        "data:;base64,QUJD\n",
        "data:;base64,QUI-",
        "data:;base64,QUI_",
        "data:;base64,QUI=QUI=",
    ),
    *("data:;base64,QUJD====", "data:;base64,QUI==", "data:;base64,QUJD%", "data:;base64,QUJD%20", "data:;base64,é"),
    *("data:,\ud800", "data:,日本", "data:;base64,QUJD\x00", "data:;base64,QUJD,QUJD", "data:;base64,%ff%ff%ff%ff"),
]


@pytest.mark.parametrize("uri", MALFORMED)
def test_malformed(uri: str, tmp_path: Path) -> None:
    with pytest.raises(FileDownloadError, match="the data URI"):
        write_data_uri(uri, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_padding_inside_is_found_across_pieces() -> None:
    padded = base64.b64encode(b"a" * (MIB // 4 * 3 - 1)).decode()
    assert len(padded) == MIB
    assert padded.endswith("=")
    with pytest.raises(FileDownloadError, match="not valid base64"):
        decoded(f"data:;base64,{padded}QUJD")


@given(st.text(max_size=50) | st.text("data:;,base64=%QUJDé", max_size=60))
def test_any_text_is_bytes_or_one_kind_of_error(text: str) -> None:
    try:
        assert decoded("data:" + text)
    except FileDownloadError:
        return
    assert is_data_uri("DaTa:" + text)
