"""What lies on disk in the moment after a kill: the rows, the files, the scratch folders, and what each was doing."""

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ``requests`` with its payload; ``input`` is None where there is none."""

    id: str
    state: str
    attempt: int
    max_attempts: int
    ended_at: float | None
    error: str | None
    input: str | None
    output: str | None

    @property
    def token(self) -> str | None:
        """What the client wrote into the prompt, to know its submit again."""
        token: str | None = json.loads(self.input)["prompt"] if self.input else None
        return token


@dataclass(frozen=True, slots=True)
class FileRow:
    request_id: str
    size: int
    role: str | None
    """None: what the request made, from before there was anything beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    rows: Mapping[str, Row]
    files: Mapping[str, FileRow]
    """By name: what the database says."""
    blobs: Mapping[str, int]
    """Name to size: what the disk says."""
    scratch: Mapping[str, frozenset[str]]
    """Folder of an attempt to the names in it."""
    faults: tuple[str, ...]
    """What SQLite's own checks found."""

    @property
    def orphans(self) -> frozenset[str]:
        """Blobs whose attempt was cut off between the file and the row."""
        return frozenset(self.blobs.keys() - self.files.keys())

    @property
    def unfinished(self) -> int:
        return sum(row.state not in ENDED for row in self.rows.values())


def read_snapshot(data: Path) -> Snapshot:
    """Reads the data directory of a server that is not running.

    The database is read from a copy: opening the original would replay and remove its write-ahead log, and the next
    start of the server must find it as the crash left it.
    """
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            source = data / f"stillmotion.db{suffix}"
            if source.exists():
                shutil.copyfile(source, Path(folder) / source.name)
        with closing(sqlite3.connect(Path(folder) / "stillmotion.db")) as connection:
            rows = [Row(*found) for found in connection.execute(_ROWS)]
            files = {name: FileRow(*found) for name, *found in connection.execute(_FILES)}
            faults = [_text(found) for found in connection.execute("PRAGMA integrity_check") if found != ("ok",)]
            faults += [f"broken reference: {_text(found)}" for found in connection.execute("PRAGMA foreign_key_check")]
    return Snapshot(
        rows={row.id: row for row in rows}, files=files, blobs=blobs(data), scratch=scratch(data), faults=tuple(faults)
    )


def blobs(data: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (data / "files/blobs").glob("*/*")}


def scratch(data: Path) -> dict[str, frozenset[str]]:
    folders = (data / "files/work").glob("*")
    return {folder.name: frozenset(path.name for path in folder.iterdir()) for folder in folders}


STATES = (
    "submit: no row yet",
    "submit: committed, not answered",
    "queued",
    "running: claimed, input not ready",
    "running: computing",
    "running: writing the file",
    "running: file in place, row not settled",
    "settled, not cleaned up",
    "running when the server died before, not yet recovered",
)
"""Where a request can be when the process dies, in the order in which it gets there."""


def states_hit(snapshot: Snapshot, lost: Collection[str], before: Snapshot | None) -> Counter[str]:
    """How many requests the kill met in each state.

    ``lost`` are the tokens of the submits that got no answer; ``before`` is how the previous kill left things, since
    a server that is killed while it starts may not have changed them yet.
    """
    stored = {row.token for row in snapshot.rows.values()}
    hit = Counter(_doing(row, snapshot, before) for row in snapshot.rows.values())
    hit["submit: no row yet"] = sum(token not in stored for token in lost)
    hit["submit: committed, not answered"] = sum(token in stored for token in lost)
    # An orphan's attempt has its picture and no longer its output, so it looks as if it were still computing.
    orphans = len(snapshot.orphans - (before.orphans if before else frozenset()))
    hit["running: file in place, row not settled"] = orphans
    hit["running: computing"] -= orphans
    return +Counter({state: hit[state] for state in STATES})


def _doing(row: Row, snapshot: Snapshot, before: Snapshot | None) -> str:
    folder = f"{row.id}-{row.attempt}"
    names = snapshot.scratch.get(folder)
    if row.state == "queued":
        return "queued"
    if row.state in ENDED:
        old = before is not None and folder in before.scratch
        return "ended" if names is None or old else "settled, not cleaned up"
    if before is not None and before.rows.get(row.id) == row:  # a claim of this life would have another number
        return "running when the server died before, not yet recovered"
    if names is None or "image_url.png" not in names:
        return "running: claimed, input not ready"
    return "running: writing the file" if "output.mp4" in names else "running: computing"


def _text(found: tuple[Any, ...]) -> str:
    return " ".join(map(str, found))


_ROWS = """
    SELECT id, state, attempt, max_attempts, ended_at, error, input, payloads.output
    FROM requests LEFT JOIN payloads ON request_id = id
"""
_FILES = "SELECT name, request_id, size, role FROM files"
