"""Where an input comes from: the URL itself, this server, this machine, the network."""

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from raw_http_server import RawServer, reply, run_server

from stillmotion.errors import FileDownloadError, FileTooLargeError, Forbidden, NotFound
from stillmotion.files.addresses import AllowList
from stillmotion.files.fetch import Fetcher
from stillmotion.files.inputs import Inputs

OWN = "http://127.0.0.1:8000/files/"
ME = "me"


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with run_server() as running:
        running.answers = {"/picture.png": reply(200, b"over the network")}
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "ours.png").write_bytes(b"our own")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def inputs(store: Path, allow: tuple[str, ...] = (), max_bytes: int = 100, **options: Any) -> Inputs:
    async def own(url: str, tenant: str) -> Path | None:
        if not url.startswith(OWN):
            return None
        if tenant != ME:
            raise Forbidden("not yours")
        path = store / url.removeprefix(OWN)
        if not path.exists():
            raise NotFound
        return path

    fetcher = Fetcher(AllowList.parse(allow), max_bytes=max_bytes, retries=0, timeout=5.0)
    return Inputs(fetcher, own, **options)


async def test_network(server: RawServer, store: Path, tmp_path: Path) -> None:
    bringing = inputs(store, (f"127.0.0.1:{server.port}",))
    await bringing.bring(f"{server.url}/picture.png", tmp_path / "file", ME)
    assert (tmp_path / "file").read_bytes() == b"over the network"


async def test_data_uri(store: Path, tmp_path: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(b"in the URL").decode()
    await inputs(store).bring(uri, tmp_path / "file", ME)
    assert (tmp_path / "file").read_bytes() == b"in the URL"
    with pytest.raises(FileTooLargeError):
        await inputs(store, max_bytes=9).bring(uri, tmp_path / "other", ME)
    assert files(tmp_path) == ["file", "store"]


async def test_large_data_uri_may_be_longer_than_a_url(store: Path, tmp_path: Path) -> None:
    content = os.urandom(5 << 20)
    await inputs(store, max_bytes=5 << 20).bring(
        f"data:;base64,{base64.b64encode(content).decode()}", tmp_path / "file", ME
    )
    assert (tmp_path / "file").read_bytes() == content


async def test_own_file_needs_no_network(store: Path, tmp_path: Path) -> None:
    """The URL is on loopback, which is not on the allow-list, and nothing listens there."""
    await inputs(store).bring(f"{OWN}ours.png", tmp_path / "file", ME)
    assert (tmp_path / "file").read_bytes() == b"our own"
    assert not (tmp_path / "file").samefile(store / "ours.png")
    with pytest.raises(FileDownloadError, match="no longer on this server"):
        await inputs(store).bring(f"{OWN}gone.png", tmp_path / "other", ME)
    with pytest.raises(FileDownloadError, match="not yours"):
        await inputs(store).bring(f"{OWN}ours.png", tmp_path / "other", "somebody")
    with pytest.raises(FileTooLargeError):
        await inputs(store, max_bytes=6).bring(f"{OWN}ours.png", tmp_path / "other", ME)


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}", "file:{path}", "FILE://{path}"])
async def test_local_path_on_the_command_line_only(form: str, store: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a picture é.png"
    picture.write_bytes(b"local")
    url = form.format(path=picture)
    await inputs(store, local_paths=True).bring(url, tmp_path / "file", ME)
    assert (tmp_path / "file").read_bytes() == b"local"
    with pytest.raises(FileDownloadError, match="must begin with http"):
        await inputs(store).bring(url, tmp_path / "other", ME)


async def test_escapes_in_a_file_url(store: Path, tmp_path: Path) -> None:
    (tmp_path / "a b%20.png").write_bytes(b"local")
    await inputs(store, local_paths=True).bring(f"file://{tmp_path}/a%20b%2520.png", tmp_path / "file", ME)
    await inputs(store, local_paths=True).bring(f"{tmp_path}/a b%20.png", tmp_path / "file", ME)


async def test_relative_path(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store)
    await inputs(store, local_paths=True).bring("ours.png", tmp_path / "file", ME)
    assert (tmp_path / "file").read_bytes() == b"our own"


async def test_local_paths_that_are_no_files(store: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "secret").write_bytes(b"x" * 101)
    local = inputs(store, local_paths=True)
    paths = [tmp_path / "missing", tmp_path, tmp_path / "pipe", "/dev/zero", "a\x00b", "\ud800", "x" * 10_000]
    for path in map(str, paths):
        with pytest.raises(FileDownloadError, match="cannot be read"):
            await local.bring(path, tmp_path / "file", ME)
    for url in ("", "file://other.host/etc/passwd", "file:relative", "ftp://127.0.0.1/a", "C:\\a.png", "hf://a/b"):
        with pytest.raises(FileDownloadError, match="must begin with http"):
            await local.bring(url, tmp_path / "file", ME)
    with pytest.raises(FileTooLargeError):
        await local.bring(str(tmp_path / "secret"), tmp_path / "file", ME)
    assert "file" not in files(tmp_path)
