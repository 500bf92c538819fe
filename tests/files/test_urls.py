"""One strict reading of URLs: what is accepted is read alike by every parser, what is not is one kind of error."""

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stillmotion.errors import FileDownloadError
from stillmotion.files.addresses import AllowList
from stillmotion.files.fetch import Fetcher
from stillmotion.files.inputs import Inputs
from stillmotion.files.urls import MAX_URL_LENGTH, HttpUrl

PIECES = [
    *(
        "http",
        "https",
        "HTTP",
        "file",
        "data",
        "://",
        ":",
        "/",
        "//",
        "\\",
        "@",
        "#",
        "?",
        "%",
        "%00",
        "%2e",
        "%2f",
        ".",
    ),
    *(
        "..",
        "[",
        "]",
        "[::1]",
        "[::ffff:1.2.3.4]",
        "127.0.0.1",
        "127.1",
        "0x7f",
        "2130706433",
        "localhost",
        "xn--",
        "-",
    ),
    *(
        "example.com",
        "bücher.example",
        "１２７",
        "。",
        "\u00ad",
        "\ud800",
        "\x00",
        "\t",
        "\r\n",
        " ",
        ":80",
        ":99999",
        ":-1",
    ),
    *(
        "user:pw@",
        "a" * 64,
        "a." * 130,
        "é",
        "日本",
        ";base64,",
        ",",
        "&",
        "=",
        "+",
        "~",
        "_",
        "*",
        "{",
        "|",
        "^",
        "<",
        '"',
    ),
]
fragments = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=10).map("".join)
url_texts = fragments | fragments.map("http://".__add__) | fragments.map("http://example.com".__add__) | st.text()


@given(url_texts)
@example("http://.../")
@example("http://a:99999/")
@example("http://[::1")
def test_any_text_is_a_url_or_one_kind_of_error(text: str) -> None:
    try:
        url = HttpUrl.parse(text)
    except FileDownloadError:
        return
    assert HttpUrl.parse(str(url)) == url
    assert 1 <= url.port <= 65535
    assert url.target.startswith("/")
    assert all("!" <= character <= "~" for character in str(url))
    other, split = httpx2.URL(str(url)), urlsplit(text)
    assert other.raw_host.decode() == url.host == urlsplit(str(url)).hostname
    assert (other.port or {"http": 80, "https": 443}[other.scheme]) == url.port == (split.port or url.port)
    assert not split.username


@given(url_texts)
@example("//")
@example("//[")
@example("")
def test_any_location_is_a_url_or_one_kind_of_error(location: str) -> None:
    with contextlib.suppress(FileDownloadError):
        assert isinstance(HttpUrl.parse("https://example.com:8443/a/b?c").join(location), HttpUrl)


def test_fetching_any_text_raises_only_our_error(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        host.encode("idna")  # as the system's resolver does, with its own errors
        return ["10.0.0.1"]

    fetcher = Fetcher(AllowList(), retries=0, resolve=resolve)

    async def own(url: str, tenant: str) -> None:
        return None

    inputs = Inputs(fetcher, own=own)
    with asyncio.Runner() as runner:

        @given(url_texts)
        def attempt(text: str) -> None:
            with pytest.raises(FileDownloadError):
                runner.run(fetcher.fetch(text, tmp_path / "file"))
            if text[:5].lower() != "data:":
                with pytest.raises(FileDownloadError):
                    runner.run(inputs.bring(text, tmp_path / "file", "anybody"))

        attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://Example.COM:443/A", "https://example.com/A"),
        ("http://example.com.:8080?q=1#f", "http://example.com:8080/?q=1"),
        ("http://example.com:/", "http://example.com/"),
        ("https://bücher.example/ü?ü=ü", "https://xn--bcher-kva.example/%C3%BC?%C3%BC=%C3%BC"),
        ("http://8.8.8.8/a%20b", "http://8.8.8.8/a%20b"),
        ("http://[2606:4700:4700:0:0:0:0:1111]:443/", "http://[2606:4700:4700::1111]:443/"),
        ("https://a_b.example.com/x y|z", "https://a_b.example.com/x%20y|z"),
        ("https://h.test/o?X-Amz-Signature=a%2Fb&c=d+e", "https://h.test/o?X-Amz-Signature=a%2Fb&c=d+e"),
    ],
)
def test_ordinary_urls(text: str, expected: str) -> None:
    assert str(HttpUrl.parse(text)) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("c", "https://h.test:8443/a/c"),
        ("/c?d", "https://h.test:8443/c?d"),
        ("?d", "https://h.test:8443/a/b?d"),
        ("../../../c", "https://h.test:8443/c"),
        ("//other.test/c", "https://other.test/c"),
        ("HTTP://other.test", "http://other.test/"),
    ],
)
def test_locations(location: str, expected: str) -> None:
    assert str(HttpUrl.parse("https://h.test:8443/a/b?c").join(location)) == expected


def test_long_urls() -> None:
    start = "http://h.test/"
    assert HttpUrl.parse(start + "a" * (MAX_URL_LENGTH - len(start)))
    for length in (MAX_URL_LENGTH + 1 - len(start), 5000, 1_000_000):
        with pytest.raises(FileDownloadError, match="longer than 4096"):
            HttpUrl.parse(start + "a" * length)
