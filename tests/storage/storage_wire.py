"""The requests of both clients' storage, one function each, and a look at what the server has on its disk."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

SMALL_FILE, SMALL_PART = 100_000, 40_000
"""Bounds of the narrow server, in bytes."""
Listed = Sequence[Mapping[str, Any]]


def upload(client: httpx2.Client, content: bytes, type: str = "text/plain", **headers: str) -> str:
    """Sends a file as the Python client does; gives its URL."""
    answer = client.post("/cdn/files/upload", content=content, headers={"content-type": type, **headers})
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["access_url"]
    return url


class Parts:
    """An upload in parts, in the Python client's dialect or, with ``js``, in that of the JavaScript client."""

    def __init__(self, client: httpx2.Client, *, name: str = "a.bin", js: bool = False, **headers: str) -> None:
        self.client = client
        if js:
            body = {"file_name": name, "content_type": "video/mp4"}
            begun = client.post("/rest/storage/upload/initiate-multipart?storage_type=fal-cdn-v3", json=body)
            self.url, upload_url = begun.json()["file_url"], begun.json()["upload_url"]
            self.base = upload_url
        else:
            headers = {"content-type": "video/mp4", "x-fal-file-name": name, **headers}
            begun = client.post("/cdn/files/upload/multipart", headers=headers)
            self.url = begun.json()["access_url"]
            self.base = f"{self.url}/multipart/{begun.json()['uploadId']}"
        self.sent: dict[int, dict[str, Any]] = {}

    def put(self, number: int, content: bytes | Iterable[bytes]) -> httpx2.Response:
        answer = self.client.put(f"{self.base}/{number}", content=content)
        if answer.status_code == 200:
            assert answer.json() == {"partNumber": number, "etag": answer.headers["etag"]}
            self.sent[number] = answer.json()
        return answer

    def complete(self, listed: Listed | None = None) -> httpx2.Response:
        return self.client.post(
            f"{self.base}/complete", json={"parts": list(self.sent.values()) if listed is None else listed}
        )


def on_disk(data: Path) -> set[str]:
    """Every file that is, or was to become, somebody's upload or output."""
    root = data / "files"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def blob_of(url: str) -> str:
    """Where the file behind a URL lies, as ``on_disk`` names it."""
    shard, name = url.split("/files/b/")[1].split("/")
    stem = shard + name.partition("_")[0]
    return f"blobs/{stem[:2]}/{stem}.upload"


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
