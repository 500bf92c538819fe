"""LoRA files on disk under the SHA-256 of their content, found again by where they came from.

    files/SHA256.safetensors    the contents; the time of last access says which was used last
    sources/HASH.json           where a content came from, and in which version; HASH is of the source's text, which
                                may hold a signature
    incoming/                   what is being written; emptied at start

One process owns the folder. A content that a request works with has a second name in that request's own folder: that
link is what keeps it from being removed, and it ends with the folder, also after a crash.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from stillmotion.errors import FileDownloadError
from stillmotion.files.safetensors import check_safetensors
from stillmotion.job import from_json, to_json

MAX_SOURCES = 4096
"""Remembered; the oldest are forgotten, which costs a download. A signed URL is a new source each time."""
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which content a source had when it was last asked."""

    content: str
    """SHA-256, 64 hexadecimal digits."""
    etag: str | None = None
    last_modified: str | None = None


class LoraStore:
    """At most ``max_bytes`` of contents that no request works with, and at least the one that came last.

    Synchronous; its methods may be called from several threads.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._files, self._sources, self._incoming = root / "files", root / "sources", root / "incoming"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        if self._incoming.exists():
            shutil.rmtree(self._incoming)
        for folder in (root, self._files, self._sources, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def incoming(self) -> Path:
        """Where a new file may be written."""
        return self._incoming / secrets.token_hex(16)

    def find(self, source: str) -> Origin | None:
        """What ``source`` was when it was last asked, if that content is still here."""
        try:
            origin = from_json(Origin, json.loads(self._source(source).read_text()))
        except (OSError, AttributeError, KeyError, TypeError, ValueError):
            return None
        return origin if self.has(origin.content) else None

    def has(self, content: str) -> bool:
        return self._path(content).is_file()

    def remember(self, source: str, origin: Origin) -> None:
        beside = self.incoming()
        beside.write_text(json.dumps(to_json(origin)))
        beside.replace(self._source(source))

    def adopt(self, written: Path, expected: str | None = None) -> str:
        """Takes the finished file ``written`` in and gives the SHA-256 of its content.

        Raises LoraLoadError unless it is safetensors, FileDownloadError unless its SHA-256 is ``expected``, where that
        is known; ``written`` is gone in every case.
        """
        try:
            check_safetensors(written)
            with written.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            if expected not in (None, content):
                raise FileDownloadError("the file arrived damaged: its checksum is not the one that was published")
            with self._lock:
                self._make_room(written.stat().st_size)
                written.replace(self._path(content))
        finally:
            written.unlink(missing_ok=True)
        return content

    def hold(self, content: str, folder: Path) -> Path | None:
        """A path of the content that stays as long as ``folder``; None if the content is not here (any more).

        The path is the same for every request, so that what was learnt about the file can be found again by it.
        """
        path, link = self._path(content), folder / (content + _SUFFIX)
        with self._lock:
            try:
                os.link(path, link)
            except FileExistsError:
                pass
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
                return _copy(path, link)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return path

    def _make_room(self, size: int) -> None:
        """Removes what was used longest ago until ``size`` more bytes fit, or only what is in use is left."""
        found = [(entry, entry.stat()) for entry in self._files.iterdir()]
        total = size + sum(status.st_size for _, status in found)
        for path, status in sorted(found, key=lambda pair: pair[1].st_atime):
            if total <= self._max_bytes:
                break
            if status.st_nlink == 1:
                path.unlink()
                total -= status.st_size
        sources = sorted(self._sources.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in sources[: max(0, len(sources) - MAX_SOURCES)]:
            path.unlink()

    def _path(self, content: str) -> Path:
        return self._files / (content + _SUFFIX)

    def _source(self, source: str) -> Path:
        return self._sources / (hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest() + ".json")


def _copy(path: Path, target: Path) -> Path | None:
    """For a request's folder on another file system."""
    try:
        shutil.copyfile(path, target)
    except FileNotFoundError:
        return None
    return target
