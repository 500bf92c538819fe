"""``files.json`` of a bundle: what belongs into it, what of that is there, and whose terms were accepted.

Written before the first byte is fetched and after each file, so that a pull that was killed is known for what it is.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stillmotion.errors import BundleError
from stillmotion.job import from_json, to_json

RECORD = "files.json"
MANIFEST = "stillmotion.json"
INCOMING = ".incoming"
"""Folder in a bundle of what is being fetched."""
LOCAL = "local"
"""``Record.source`` of a bundle that was made of files on this machine."""

Kind = Literal["bundle", "classifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a bundle."""

    size: int
    """Bytes."""
    sha256: str | None = None
    """Known before for published weights, for every file once it is whole."""
    origin: str
    """``owner/repo@commit/path``, or the path of a file that was here already."""
    whole: bool = False
    """In place, and its checksum was that of its origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Who accepted which terms, and when."""

    name: str
    url: str
    sha256: str | None
    """Of the licence's text, where the repository holds one."""
    by: str
    """Account of the operating system."""
    at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What ``files.json`` holds."""

    kind: Kind
    source: str
    """``owner/repo@commit`` of the weights, or ``LOCAL``."""
    files: Mapping[str, Entry] = field(default_factory=dict)
    """By path in the bundle."""
    accepted: tuple[Acceptance, ...] = ()

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files.values())


def read_record(folder: Path) -> Record | None:
    """The record of ``folder``, None where there is none. Raises BundleError."""
    path = folder / RECORD
    try:
        return from_json(Record, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error


def write_record(folder: Path, record: Record) -> None:
    write_text(folder / RECORD, json.dumps(to_json(record), indent=1))


def write_text(path: Path, text: str) -> None:
    """Replaces ``path`` at once: whoever reads it sees the old text or the new one, also after a power cut."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def text_digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
