"""What a host can do to a download, and what arrives."""

import asyncio
import datetime
import ssl
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from raw_http_server import RawServer, reply, run_server

from stillmotion import __version__
from stillmotion.errors import ConfigurationError, FileDownloadError, FileTooLargeError
from stillmotion.files.addresses import AllowList
from stillmotion.files.fetch import Fetched, Fetcher

PICTURE = bytes(range(256)) * 12_000  # 3 MB: three buffers of the writer


@pytest.fixture
async def server() -> Any:
    async with run_server() as running:
        yield running


def fetcher(**options: Any) -> Fetcher:
    return Fetcher(AllowList.parse(["127.0.0.0/8"]), **{"backoff": 0.001, "timeout": 5.0, **options})


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def failure(fetching: Fetcher, url: str, target: Path) -> str:
    with pytest.raises(FileDownloadError) as caught:
        await fetching.fetch(url, target)
    assert files(target.parent) == []
    return caught.value.message


async def test_bytes_arrive(server: RawServer, tmp_path: Path) -> None:
    server.answers = {"/a%20b/%C3%A9.png?x=1": reply(200, PICTURE, content_type="image/png")}
    fetched = await fetcher().fetch(f"{server.url}/a b/é.png?x=1#part", tmp_path / "file")
    assert fetched == Fetched(len(PICTURE), f"{server.url}/a%20b/%C3%A9.png?x=1", "image/png")
    assert (tmp_path / "file").read_bytes() == PICTURE


async def test_request_carries_nothing_but_what_is_needed(
    server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.answers = {
        "/": reply(302, b"", location="/next", set_cookie="a=b"),
        "/next": reply(200, b"x"),
    }
    await fetcher().fetch(server.url, tmp_path / "file")
    expected = (
        f"GET /next HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"User-Agent: stillmotion/{__version__} (+image fetch)\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n"
    )
    assert server.requests[1].decode() == expected


@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n"])
async def test_bodies_without_length(server: RawServer, tmp_path: Path, end: bytes) -> None:
    if end:
        server.answers = {"/": [[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", end]]}
    else:
        server.answers = {"/": [[b"HTTP/1.1 200 OK\r\n\r\n", b"abc"]]}
    assert (await fetcher().fetch(server.url, tmp_path / "file")).size == 3
    assert (tmp_path / "file").read_bytes() == b"abc"


@pytest.mark.parametrize("status", [201, 203, 204, 206, 300, 304, 400, 401, 403, 404, 410, 418, 451])
async def test_status_is_told_and_not_tried_again(server: RawServer, tmp_path: Path, status: int) -> None:
    server.answers = {"/": reply(status, b"" if status in (204, 304) else b"text")}
    assert await failure(fetcher(), server.url, tmp_path / "file") == f"127.0.0.1 answered {status}"
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
async def test_passing_faults_are_tried_again(server: RawServer, tmp_path: Path, status: int) -> None:
    server.answers = {"/": [reply(status), reply(status), reply(200, b"at last")], "/never": reply(status)}
    await fetcher().fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"at last"
    (tmp_path / "file").unlink()
    assert await failure(fetcher(), f"{server.url}/never", tmp_path / "file") == f"127.0.0.1 answered {status}"
    assert len(server.requests) == 6


BROKEN: dict[str, list[Any]] = {
    "closes at once": [b""],
    "not HTTP": [b"SSH-2.0-OpenSSH_9.9\r\n\r\n"],
    "bare body": [b"<html></html>\r\n\r\n"],
    "no status": [b"HTTP/1.1\r\n\r\n"],
    "status of letters": [b"HTTP/1.1 abc OK\r\n\r\n"],
    "half a head": [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n"],
    "less than promised": [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"],
    "two lengths": [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"],
    "negative length": [b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabc"],
    "length of words": [b"HTTP/1.1 200 OK\r\ncontent-length: three\r\n\r\nabc"],
    "endless length": [b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\nabc"],
    "bad chunk size": [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"],
    "chunks that end early": [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    "unknown transfer coding": [b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc"],
    "one header of 10 MB": [b"HTTP/1.1 200 OK\r\nx: ", *repeat(b"y" * 100_000, 100), b"\r\n\r\n"],
    "headers without end": [b"HTTP/1.1 200 OK\r\n", *repeat(b"x: y\r\n" * 10_000, 100)],
    "NUL in a header": [b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 3\r\n\r\nabc"],
    "switches protocols": [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc"],
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_broken_answers_are_tried_again_and_then_refused(server: RawServer, tmp_path: Path, fault: str) -> None:
    server.answers = {"/": [BROKEN[fault], BROKEN[fault], reply(200, b"whole")], "/broken": [BROKEN[fault]] * 3}
    text = await failure(fetcher(), f"{server.url}/broken", tmp_path / "file")
    assert text == "127.0.0.1 did not send a complete HTTP answer"
    assert len(server.requests) == 3
    await fetcher().fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"whole"


def endless(head: bytes, piece: bytes) -> Iterator[bytes]:
    yield head
    yield from repeat(piece)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", b"x"),
    ],
)
async def test_endless_body(server: RawServer, tmp_path: Path, head: bytes, piece: bytes) -> None:
    server.answers = {"/": endless(head, piece)}
    with pytest.raises(FileTooLargeError, match="larger than 2 MiB") as caught:
        await fetcher(max_bytes=2 << 20).fetch(server.url, tmp_path / "file")
    assert caught.value.ctx == {"max_size": 2 << 20}
    assert files(tmp_path) == []


async def test_limit_is_the_last_size_that_fits(server: RawServer, tmp_path: Path) -> None:
    server.answers = {"/fits": reply(200, b"x" * 1000), "/over": [[b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1001]]}
    assert (await fetcher(max_bytes=1000).fetch(f"{server.url}/fits", tmp_path / "file")).size == 1000
    with pytest.raises(FileTooLargeError, match="larger than 1000 bytes"):
        await fetcher(max_bytes=1000).fetch(f"{server.url}/over", tmp_path / "other")


async def test_more_than_promised_is_not_read(server: RawServer, tmp_path: Path) -> None:
    server.answers = {"/": reply(200, b"abc") + b"HTTP/1.1 200 OK\r\n\r\nmore"}
    await fetcher().fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"abc"


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "identity, gzip", "GZIP"])
async def test_compressed_answers_are_refused(server: RawServer, tmp_path: Path, encoding: str) -> None:
    server.answers = {"/": reply(200, b"\x1f\x8b", content_encoding=encoding)}
    assert "compressed" in await failure(fetcher(), server.url, tmp_path / "file")


async def test_identity_is_no_compression(server: RawServer, tmp_path: Path) -> None:
    server.answers = {"/": reply(200, b"abc", content_encoding="identity")}
    assert (await fetcher().fetch(server.url, tmp_path / "file")).size == 3


@pytest.mark.parametrize(
    ("claimed", "told"), [("image/png", "image/png"), ("image/é", None), ("\x80", None), ("", None), (" a/b ", "a/b")]
)
async def test_content_type(server: RawServer, tmp_path: Path, claimed: str, told: str | None) -> None:
    server.answers = {"/": reply(200, b"abc", content_type=claimed), "/none": reply(200, b"abc")}
    assert (await fetcher().fetch(server.url, tmp_path / "file")).content_type == told
    assert (await fetcher().fetch(f"{server.url}/none", tmp_path / "file")).content_type is None


async def test_empty_file(server: RawServer, tmp_path: Path) -> None:
    server.answers = {"/": reply(200)}
    assert await failure(fetcher(), server.url, tmp_path / "file") == "127.0.0.1 sent an empty file"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_drip_meets_the_time_limit(server: RawServer, tmp_path: Path, head: bytes) -> None:
    server.answers = {"/": [[head, *[0.05, b"x"] * 100]]}
    text = await failure(fetcher(timeout=0.3), server.url, tmp_path / "file")
    assert text == "the download from 127.0.0.1 took more than 0.3 s"
    assert len(server.requests) == 1


async def test_interim_answers_do_not_stretch_the_time_limit(server: RawServer, tmp_path: Path) -> None:
    server.answers = {"/": endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n")}
    assert "took more than" in await failure(fetcher(timeout=0.3), server.url, tmp_path / "file")


async def test_redirects(server: RawServer, tmp_path: Path) -> None:
    server.answers = {
        "/a/0": reply(301, location="1?x=y"),
        "/a/1?x=y": reply(302, location="../b/2"),
        "/b/2": reply(303, location=f"//localhost:{server.port}/3"),
        "/3": reply(307, location=f"http://127.0.0.1:{server.port}/4 ü#part"),
        "/4%20%C3%BC": reply(308, location="?last"),
        "/4%20%C3%BC?last": reply(200, b"there"),
        "/loop": reply(302, location="/loop"),
        "/nowhere": reply(302),
        "/bytes": b"HTTP/1.1 302 Found\r\nlocation: /\xff\xfe\r\ncontent-length: 0\r\n\r\n",
    }
    fetched = await fetcher(max_redirects=5).fetch(f"{server.url}/a/0", tmp_path / "file")
    assert fetched.url == f"{server.url}/4%20%C3%BC?last"
    (tmp_path / "file").unlink()
    assert "more than 4 times" in await failure(fetcher(max_redirects=4), f"{server.url}/a/0", tmp_path / "file")
    server.requests.clear()
    assert "more than 5 times" in await failure(fetcher(), f"{server.url}/loop", tmp_path / "file")
    assert len(server.requests) == 6
    assert "without saying where" in await failure(fetcher(), f"{server.url}/nowhere", tmp_path / "file")
    assert "control character" in await failure(fetcher(), f"{server.url}/bytes", tmp_path / "file")


@pytest.mark.parametrize("wrong", ["Refresh: 0;url=http://127.0.0.2/", "Content-Location: http://127.0.0.2/"])
async def test_only_location_redirects(server: RawServer, tmp_path: Path, wrong: str) -> None:
    body = b'<meta http-equiv="refresh" content="0;url=http://127.0.0.2/">'
    name, _, value = wrong.partition(": ")
    server.answers = {"/": reply(200, body, **{name: value})}
    await fetcher().fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == body


async def test_cancelled_download_leaves_nothing(server: RawServer, tmp_path: Path) -> None:
    server.answers = {"/": [[b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 3_000_000, 30.0]]}
    task = asyncio.create_task(fetcher().fetch(server.url, tmp_path / "file"))
    async with asyncio.timeout(5):
        while not files(tmp_path):  # noqa: ASYNC110 - a file has no event to wait for
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path) == []


async def test_downloads_side_by_side_do_not_mix(server: RawServer, tmp_path: Path) -> None:
    shared = fetcher()
    server.answers = {f"/{n}": reply(200, bytes([n]) * (100_000 + n)) for n in range(20)}
    await asyncio.gather(*(shared.fetch(f"{server.url}/{n}", tmp_path / str(n)) for n in range(20)))
    assert all((tmp_path / str(n)).read_bytes() == bytes([n]) * (100_000 + n) for n in range(20))


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for ``name``, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    return public, context


async def test_tls_keeps_the_name_while_the_address_is_pinned(tmp_path_factory: Any, tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path_factory.mktemp("tls"), "pinned.test")
    indicated = []
    context.sni_callback = lambda connection, name, _: indicated.append(name)

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with run_server(tls=context) as server:
        server.answers = {"/": reply(200, b"over TLS")}
        trusting = fetcher(ca_file=ca_file, resolve=resolve)
        await trusting.fetch(f"https://pinned.test.:{server.port}", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"over TLS"
        assert indicated == ["pinned.test"]
        assert f"Host: pinned.test:{server.port}".encode() in server.requests[0]
        (tmp_path / "file").unlink()

        url = f"https://other.test:{server.port}/"
        refusals = [
            await failure(fetcher(ca_file=ca_file, resolve=resolve), url, tmp_path / "file"),
            await failure(fetcher(resolve=resolve), f"https://pinned.test:{server.port}/", tmp_path / "file"),
        ]
        assert refusals == [f"the TLS certificate of {name}.test cannot be verified" for name in ("other", "pinned")]
        assert len(server.requests) == 1


async def test_tls_with_a_host_that_does_not_speak_it(server: RawServer, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{server.port}/"
    assert "could not download" in await failure(fetcher(timeout=2.0, connect_timeout=0.1), url, tmp_path / "file")


async def test_download_given_up_during_the_handshake_closes_its_socket(server: RawServer, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{server.port}/"
    sockets = count_sockets()
    assert "took more than" in await failure(fetcher(timeout=0.1, connect_timeout=2.0), url, tmp_path / "file")
    async with asyncio.timeout(5):
        while count_sockets() > sockets:  # the two ends close one after the other  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def count_sockets() -> int:
    return sum(connection.laddr != () for connection in psutil.Process().net_connections("tcp"))


def test_unusable_ca_file(tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("no certificate")
    for name in ("missing", "junk"):
        with pytest.raises(ConfigurationError, match="CA file"):
            fetcher(ca_file=tmp_path / name)
