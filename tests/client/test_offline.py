"""A server that fetches nothing: fixtures and drawn pictures in place of what lies elsewhere."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving import Server, data_uri, picture, serving, small, submit, wait
from stillmotion.errors import ConfigurationError, FileDownloadError
from stillmotion.files.addresses import AllowList
from stillmotion.files.fixtures import Fixtures, read_fixtures
from stillmotion.files.offline import DrawingFetcher
from stillmotion.service.webhook_sender import Answer, WebhookSender

LORA_ENDPOINT = "fal-ai/ltx-2.3-22b/image-to-video/lora"
OUTSIDE = "https://storage.example.com/bucket/image"


@pytest.fixture(scope="module")
def trap() -> Iterator[SimpleNamespace]:
    """A server elsewhere: it takes connections, counts them, and says nothing."""
    found = SimpleNamespace(hits=0, port=0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found.port = listener.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                found.hits += 1
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def tiny_lora() -> bytes:
    """The smallest safetensors file."""
    header = json.dumps({"a.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory, trap: SimpleNamespace) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("offline")
    (folder / "photo.png").write_bytes(picture(640, 480))
    (folder / "style.safetensors").write_bytes(tiny_lora())
    (folder / "broken.safetensors").write_bytes(b"<html>")
    (folder / "fixtures.toml").write_text(
        f"""[fixtures]
        "{OUTSIDE}/photo.png" = "photo.png"
        "https://*.example.org/*" = "photo.png"
        "someone/style" = "style.safetensors"
        "https://loras.example.com/broken" = "broken.safetensors"
        """
    )
    # What offline forbids is allowed by every other setting, so that only it can be what keeps the trap empty.
    open_to_trap = {"fetch_allow": f"127.0.0.1:{trap.port}"}
    fixtures = folder / "fixtures.toml"
    with serving(folder / "data", offline=True, fixtures=fixtures, mock_seconds=0.05, **open_to_trap) as server:
        yield server


def made(server: Server, *, endpoint: str | None = None, **fields: object) -> dict:
    """The result of a request, or the answer to it if that is an error."""
    with server.client() as client:
        if endpoint is None:
            submitted = submit(client, **fields)
        else:
            submitted = client.post(f"/queue/{endpoint}", json=small(**fields)).json()
        wait(client, submitted)
        return client.get(submitted["response_url"]).json()


def size(result: dict) -> tuple[int, int]:
    return result["video"]["width"], result["video"]["height"]


def test_an_outside_picture_is_drawn(offline):
    assert size(made(offline, image_url=f"{OUTSIDE}/unknown.jpg", video_size="auto")) == (1248, 704)


@pytest.mark.parametrize("url", [f"{OUTSIDE}/photo.png", "https://cdn.example.org/a/b/c.webp?x=1"])
def test_a_fixture_stands_in(offline, url):
    assert size(made(offline, image_url=url, video_size="auto")) == (1056, 800)


def test_files_of_fals_that_are_not_here_are_outside(offline):
    drawn = made(offline, image_url="https://v3.fal.media/files/rabbit/abc_image.png", video_size="auto")
    assert size(drawn) == (1248, 704)


def test_what_is_here_is_used_as_ever(offline):
    with offline.client() as client:
        upload = {"content": picture(640, 480), "headers": {"content-type": "image/png", "x-fal-file-name": "a.png"}}
        url = client.post("/cdn/files/upload", **upload).json()["access_url"]
    for own in (url, data_uri(picture(640, 480))):
        assert size(made(offline, image_url=own, video_size="auto")) == (1056, 800)


def test_a_lora_has_a_fixture_or_is_refused(offline):
    found = made(offline, endpoint=LORA_ENDPOINT, loras=[{"path": "someone/style"}])
    assert "video" in found
    [refused] = made(offline, endpoint=LORA_ENDPOINT, loras=[{"path": "someone/else"}])["detail"]
    assert (refused["loc"], refused["type"]) == (["body", "loras", 0, "path"], "file_download_error")
    assert "offline" in refused["msg"]
    [broken] = made(offline, endpoint=LORA_ENDPOINT, loras=[{"path": "https://loras.example.com/broken"}])["detail"]
    assert "web page" in broken["msg"]


def test_a_text_that_is_no_url_is_refused_as_ever(offline):
    [refused] = made(offline, image_url="ftp://example.com/a.png")["detail"]
    assert (refused["loc"], refused["type"]) == (["body", "image_url"], "file_download_error")


def test_nothing_is_connected_to(offline, trap):
    there, before = f"http://127.0.0.1:{trap.port}", trap.hits
    assert "video" in made(offline, image_url=f"{there}/a.png", end_image_url=f"{there}/b.png")
    assert "offline" in str(made(offline, endpoint=LORA_ENDPOINT, loras=[{"path": f"{there}/a.safetensors"}]))
    assert trap.hits == before


async def test_webhooks_stay_on_this_machine(trap):
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    online = WebhookSender(AllowList.parse(["*.example"]), resolve=resolve)
    before = trap.hits
    await online.post(f"http://hook.example:{trap.port}/", [], b"{}", timeout=5)
    assert (asked, trap.hits) == (["hook.example"], before + 1)
    offline = WebhookSender(AllowList.parse(["*.example", "0.0.0.0/0"]), offline=True, resolve=resolve)
    for there in (f"hook.example:{trap.port}", "198.51.100.1", "10.0.0.1"):
        assert await offline.post(f"http://{there}/", [], b"{}", timeout=5) == Answer(error="unreachable")
    assert (len(asked), trap.hits) == (1, before + 1)
    await offline.post(f"http://localhost:{trap.port}/", [], b"{}", timeout=5)
    assert trap.hits == before + 2


async def test_a_drawing_is_the_same_for_the_same_url_alone(tmp_path):
    fetcher = DrawingFetcher(1 << 20)
    for number, name in enumerate("aab"):
        fetched = await fetcher.fetch(f"https://example.com/{name}", tmp_path / str(number))
        assert fetched.size == (tmp_path / str(number)).stat().st_size
    first, again, other = (Image.open(tmp_path / str(number)).convert("RGB").tobytes() for number in range(3))
    assert first == again
    assert first != other
    with pytest.raises(FileDownloadError):
        await fetcher.fetch("https://", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@given(keys=st.lists(st.text("ab/*", min_size=1, max_size=5), unique=True), url=st.text("ab/*", min_size=1, max_size=5))
@settings(max_examples=60)
def test_the_url_itself_wins_then_the_first_glob(tmp_path_factory, keys, url):
    folder = tmp_path_factory.getbasetemp()
    files = {}
    for number, key in enumerate(keys):
        files[key] = folder / f"fixture-{number}"
        files[key].touch()
    found = Fixtures(files).find(url)
    if url in keys:
        assert found == files[url]
    elif found is not None:
        assert "*" in next(key for key, path in files.items() if path == found)
    else:
        assert "*" not in keys


def test_fixtures_that_cannot_be_are_told(tmp_path):
    with pytest.raises(ConfigurationError, match=r"missing\.png"):
        Fixtures({"https://example.com/": tmp_path / "missing.png"})
    for text in ("", "[fixtures", "fixtures = 1", '[fixtures]\n"a" = 1'):
        file = tmp_path / "fixtures.toml"
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=r"fixtures\.toml"):
            read_fixtures(file)


def test_paths_are_relative_to_the_file_that_names_them(tmp_path):
    (tmp_path / "fixtures.toml").write_text('[fixtures]\n"https://a/*" = "pictures/a.png"\n"b" = "/b.png"')
    assert read_fixtures(tmp_path / "fixtures.toml") == {
        "https://a/*": tmp_path / "pictures/a.png",
        "b": Path("/b.png"),
    }
