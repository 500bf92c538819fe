"""The models folder: what lies in it, and what may be taken out of it."""

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER
from stillmotion.bundles.checksum import sha256
from stillmotion.bundles.record import INCOMING, LOCAL, MANIFEST, RECORD, Kind, Record, read_record, write_record
from stillmotion.errors import BundleError, ConfigurationError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One folder of models."""

    name: str
    state: Literal["whole", "incomplete"]
    kind: Kind
    size: int
    """Bytes on disk, files elsewhere that are linked to included."""
    missing: int = 0
    """Bytes that a pull would still have to bring."""
    licence: str = ""
    accepted: str = ""
    """When and by whom its terms were accepted, "" where that is not known."""


class Shelf:
    """``models`` is created when something is put in."""

    def __init__(self, models: Path) -> None:
        self.models = models

    def folder(self, name: str) -> Path:
        """Where the bundle ``name`` lies or would. Raises ConfigurationError for what is no name."""
        if not NAME.fullmatch(name) or ".." in name:
            raise ConfigurationError(f"{name[:200]!r} cannot be a name: letters, digits, '.', '_' and '-' only")
        return self.models / name

    def names(self) -> list[str]:
        """Everything that is a bundle or classifier, or was begun as one, in alphabetical order."""
        if not self.models.is_dir():
            return []
        return sorted(entry.name for entry in self.models.iterdir() if _is_shelved(entry))

    def installed(self) -> list[Installed]:
        return [self.look_at(name) for name in self.names()]

    def look_at(self, name: str) -> Installed:
        """Sizes are compared, contents are not. Raises BundleError where there is nothing."""
        folder = self.existing(name)
        record = read_record(folder)
        if record is None:
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            return Installed(name=name, state="whole", kind="bundle", size=size, licence=_manifest_licence(folder))
        missing = sum(entry.size for path, entry in record.files.items() if not has_file(folder, path, record))
        here = sum(part.stat().st_size for part in (folder / INCOMING).glob("*.part"))
        whole = missing == 0 and (record.kind == "classifier" or (folder / MANIFEST).is_file())
        return Installed(
            name=name,
            state="whole" if whole else "incomplete",
            kind=record.kind,
            size=record.size - missing + here,
            missing=max(0, missing - here),
            licence=", ".join(dict.fromkeys(acceptance.name for acceptance in record.accepted)),
            accepted=", ".join(dict.fromkeys(f"{found.at[:10]} by {found.by}" for found in record.accepted)),
        )

    def existing(self, name: str) -> Path:
        """The folder of what is called ``name``. Raises BundleError where there is nothing."""
        folder = self.folder(name)
        if not _is_shelved(folder):
            there = ", ".join(self.names())
            raise BundleError(f"there is no {name!r} in {self.models}" + (f"; there is {there}" if there else ""))
        return folder

    def verify(self, name: str) -> Iterator[tuple[str, str]]:
        """Each recorded file with what is wrong with it, "" if nothing is; reads every byte.

        What is wrong is recorded as not whole, so that the next pull brings it anew. Raises BundleError.
        """
        folder = self.existing(name)
        record = read_record(folder)
        if record is None:
            raise BundleError(f"{name} was not made by `stillmotion models`: there is no record to compare it with")
        for path, entry in record.files.items():
            fault = _fault(folder / path, entry.size, entry.sha256)
            if fault and entry.whole:
                record = replace(record, files={**record.files, path: replace(entry, whole=False)})
                write_record(folder, record)
            yield path, fault
        if record.kind == "bundle" and MANIFEST not in record.files:
            yield MANIFEST, "" if (folder / MANIFEST).is_file() else "missing: the pull was not completed"

    def remedy(self, name: str) -> str:
        """What to do when ``verify`` found a fault."""
        record = read_record(self.existing(name))
        if record is None or record.source == LOCAL:
            return f"Put the files back, or remove it and add it again: stillmotion models rm {name}"
        source = record.source.partition("@")[0]
        known = name in BUNDLES or name == CLASSIFIER.name
        return "Mend it with: stillmotion models pull " + (name if known else f"{source} --name {name}")

    def remove(self, name: str) -> None:
        """Deletes the folder ``name``; a link to a folder or file elsewhere goes, what it points to stays."""
        folder = self.existing(name)
        with self.locked(name):
            if folder.is_symlink():
                folder.unlink()
                return
            # First of all what makes it a bundle: whatever happens now, nobody takes the rest for one.
            (folder / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(folder)  # follows no symbolic link, and refuses to begin at one

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Raises BundleError while another process works at ``name``; the lock ends with its process."""
        folder = self.folder(name)
        self.models.mkdir(parents=True, exist_ok=True)
        with (self.models / f".{folder.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BundleError(f"another process is working at {name} right now") from None
            yield

    def with_content(self, digest: str, size: int) -> Path | None:
        """A whole file of some bundle here with this SHA-256: four bundles share one text encoder."""
        for name in self.names():
            folder = self.models / name
            try:
                record = read_record(folder)
            except BundleError:
                continue
            for path, entry in record.files.items() if record else ():
                if entry.sha256 == digest and entry.size == size and record and has_file(folder, path, record):
                    return folder / path
        return None


def has_file(folder: Path, path: str, record: Record) -> bool:
    """Whether the recorded file ``path`` is there, was checked, and still has its size."""
    entry = record.files[path]
    try:
        return entry.whole and (folder / path).stat().st_size == entry.size
    except OSError:
        return False


def _is_shelved(folder: Path) -> bool:
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    return any((folder / name).is_file() for name in (MANIFEST, RECORD))


def _fault(path: Path, size: int, digest: str | None) -> str:
    try:
        found = path.stat().st_size
        if found != size:
            return f"has {found:,} bytes instead of {size:,}"
        if digest is None:
            return "was never checked: the pull was not completed"
        return "" if sha256(path) == digest else "has another checksum: its content was changed or damaged"
    except FileNotFoundError:
        return "the file that it links to is gone" if path.is_symlink() else "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _manifest_licence(folder: Path) -> str:
    try:
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["licence"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
