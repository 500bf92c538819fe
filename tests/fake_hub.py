"""A hub on loopback that answers as huggingface.co does: listing, redirect to a CDN with ranges, gates and errors."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = re.compile(r"[0-9a-f]{40}")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repo:
    """Files by revision; ``main`` is one of them. ``gated``: only the token ``allowed`` may read files."""

    revisions: dict[str, dict[str, bytes]]
    gated: bool = False
    allowed: str = "hf_allowed"
    claimed: dict[str, int] = field(default_factory=dict)
    """Sizes that the listing tells, where they are not those of the files."""
    plain: frozenset[str] = frozenset()
    """Files that are not kept as LFS: no SHA-256 is published for them."""

    def commit(self, revision: str) -> str | None:
        for name, files in self.revisions.items():
            contents = [(path, sha256(content)) for path, content in sorted(files.items())]
            digest = hashlib.sha1(repr((name, contents)).encode()).hexdigest()
            if revision in (name, digest):
                return digest
        return None

    def files(self, commit: str) -> dict[str, bytes]:
        return next(files for name, files in self.revisions.items() if self.commit(name) == commit)


@dataclass
class Seen:
    method: str
    path: str
    range: str | None
    token: str | None


class FakeHub:
    """``stall`` maps a path to the bytes after which the CDN stops sending, for as long as it is set."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.seen: list[Seen] = []
        self.cdn_seen: list[Seen] = []
        self.stall: dict[str, int] = {}
        self.cut: dict[str, int] = {}
        """Path to the bytes after which the CDN closes the connection, once."""
        self.corrupt: set[str] = set()
        self.status: int | None = None
        """Answer everything with this."""
        self.stalled = threading.Event()
        self.closing = threading.Event()
        self.url = ""
        self.cdn = ""

    def add(self, name: str, files: Mapping[str, bytes], **options: Any) -> Repo:
        repo = self.repos[name] = Repo({"main": dict(files)}, **options)
        return repo

    def fetched(self, part: str = "") -> list[Seen]:
        """What the CDN was asked for."""
        return [seen for seen in self.cdn_seen if part in seen.path]


def _json(handler: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
    content = json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def _noted(self) -> Seen:
        headers = self.headers
        return Seen(self.command, unquote(urlsplit(self.path).path), headers["Range"], headers["Authorization"])

    def do_HEAD(self) -> None:
        self.do_GET()


class _HubHandler(_Handler):
    def do_GET(self) -> None:
        seen = self._noted()
        self.hub.seen.append(seen)
        if self.hub.status is not None:
            return _json(self, self.hub.status, {"error": "told to"})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", seen.path):
            return self._list(match[1], match[2])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", seen.path):
            return self._resolve(match[1], match[2], match[3], seen)
        return _json(self, 404, {"error": "no such route"})

    def _list(self, name: str, revision: str) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            return _json(self, 401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        commit = repo.commit(revision)
        if commit is None:
            return _json(self, 404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        siblings = []
        for path, content in repo.files(commit).items():
            size = repo.claimed.get(path, len(content))
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            lfs = {"sha256": sha256(content), "size": size, "pointerSize": 135}
            siblings.append(
                {"rfilename": path, "size": size, "blobId": git, **({} if path in repo.plain else {"lfs": lfs})}
            )
        return _json(
            self,
            200,
            {"id": name, "sha": commit, "siblings": siblings, "gated": "manual" if repo.gated else False, "tags": []},
        )

    def _resolve(self, name: str, revision: str, path: str, seen: Seen) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            return _json(self, 401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if repo.gated and seen.token != f"Bearer {repo.allowed}":
            status = 403 if seen.token else 401
            return _json(self, status, {"error": "gated"}, X_Error_Code="GatedRepo", X_Error_Message="gated")
        commit = repo.commit(revision)
        if commit is None:
            return _json(self, 404, {"error": "no rev"}, X_Error_Code="RevisionNotFound")
        content = repo.files(commit).get(path)
        if content is None:
            return _json(self, 404, {"error": "no file"}, X_Error_Code="EntryNotFound")
        self.send_response(302)
        for header, value in {
            "Location": f"{self.hub.cdn}/{name}/{commit}/{path}?signature=secret",
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{sha256(content)}"',
            "Content-Length": "0",
        }.items():
            self.send_header(header, value)
        return self.end_headers()


class _CdnHandler(_Handler):
    def do_GET(self) -> None:
        seen = self._noted()
        self.hub.cdn_seen.append(seen)
        owner, name, commit, path = seen.path.lstrip("/").split("/", 3)
        content = self.hub.repos[f"{owner}/{name}"].files(commit)[path]
        if path in self.hub.corrupt:
            content = bytes(len(content))
        start = int(seen.range.removeprefix("bytes=").split("-")[0]) if seen.range else 0
        self.send_response(206 if seen.range else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if seen.range:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command != "HEAD":
            self._send(path, content[start:])

    def _send(self, path: str, content: bytes) -> None:
        cut = self.hub.cut.pop(path, None)
        limit = self.hub.stall.get(path)
        if cut is not None:
            self.wfile.write(content[:cut])
            self.close_connection = True
            return
        try:
            self.wfile.write(content if limit is None else content[:limit])
            if limit is not None:
                self.wfile.flush()
                self.hub.stalled.set()
                self.hub.closing.wait(30)
                self.close_connection = True
        except OSError:
            self.close_connection = True


@contextmanager
def run_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    servers = []
    for kind in (_HubHandler, _CdnHandler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type(kind.__name__, (kind,), {"hub": hub}))
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
    hub.url, hub.cdn = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.closing.set()
        for server in servers:
            server.shutdown()
            server.server_close()
