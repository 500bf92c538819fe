"""Brings what a plan lists: resumed, checked, and in place only when it is whole.

At every moment the folder can be left as it is: parts lie in ``.incoming`` under the name of their content, a file
moves to its place when its checksum is right, ``files.json`` says which did, and the manifest, without which nobody
takes the folder for a bundle, comes last.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stillmotion.bundles.checksum import check, is_same, sha256
from stillmotion.bundles.plan import Item, Plan, TermsToAccept
from stillmotion.bundles.record import (
    INCOMING,
    MANIFEST,
    Acceptance,
    Entry,
    Record,
    read_record,
    sync_folder,
    text_digest,
    write_record,
    write_text,
)
from stillmotion.bundles.shelf import Shelf, has_file
from stillmotion.bundles.side_by_side import side_by_side
from stillmotion.errors import BundleError, Unavailable
from stillmotion.hub import Hub, is_disk_full

CONNECTIONS = 4
"""Files fetched at a time: one stream of the hub's CDN seldom fills a server's line, four large files do."""
FRUITLESS = 3
"""Tries in a row that bring no byte before a download is given up; each waits for huggingface_hub's own retries."""


class Watcher(Protocol):
    """Told how the work goes, from several threads."""

    def begin(self, name: str, size: int) -> None: ...
    def advance(self, name: str, count: int) -> None: ...
    def checking(self, name: str) -> None: ...
    def finish(self, name: str, how: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a plan still needs."""

    items: tuple[Item, ...]
    """Not in place yet."""
    reusable: Mapping[str, Sequence[Path]]
    """Target to files that are here already and may be the one; the checksum decides."""
    to_fetch: int
    """Bytes over the network, parts of an earlier pull taken off."""


def need(plan: Plan, shelf: Shelf, folders: Iterable[Path] = ()) -> Need:
    """Compares sizes and records; reads no large file. ``folders`` are searched for files that are here already."""
    folder = shelf.folder(plan.name)
    record = read_record(folder)
    items = tuple(item for item in plan.items if not _in_place(item, folder, record))
    by_size = _files_by_size(folders, {item.file.size for item in items})
    reusable: dict[str, Sequence[Path]] = {}
    to_fetch = 0
    for item in items:
        if found := _find(item, shelf, by_size):
            reusable[item.target] = found
        else:
            part = _part(folder, item)
            to_fetch += max(0, item.file.size - (part.stat().st_size if part.exists() else 0))
    return Need(items=items, reusable=reusable, to_fetch=to_fetch)


def check_space(models: Path, size: int, *, reserve: int, free: Callable[[Path], int] | None = None) -> int:
    """Bytes that are free where ``models`` is or will be. Raises BundleError if ``size`` and ``reserve`` do not fit."""
    there = next(folder for folder in (models, *models.absolute().parents) if folder.exists())
    available = free(there) if free else shutil.disk_usage(there).free
    if size and size + reserve > available:
        raise BundleError(
            f"{gigabytes(size)} are to be fetched into {models}, where {gigabytes(available)} are free, of which "
            f"{gigabytes(reserve)} stay reserved: make room, choose another folder with STILLMOTION_MODELS, or leave "
            "parts out with --without"
        )
    return available


def unaccepted(plan: Plan, shelf: Shelf) -> list[TermsToAccept]:
    """The terms of ``plan`` that nobody accepted for it yet, or whose text has changed since."""
    record = read_record(shelf.folder(plan.name))
    known = {(found.url, found.sha256) for found in record.accepted} if record else set()
    return [terms for terms in plan.terms if (terms.terms.url, text_digest(terms.text)) not in known]


def begin(plan: Plan, shelf: Shelf, *, accepted_by: str, now: str) -> None:
    """Records the plan and that ``accepted_by`` accepted all its terms. Raises BundleError for a folder of another."""
    folder = shelf.folder(plan.name)
    old = read_record(folder)
    if old is None and folder.exists() and any(folder.iterdir()):
        raise BundleError(f"{folder} was not made by `stillmotion models pull`: move it away, or use --name")
    if old is not None and _repository(old.source) != _repository(plan.source):
        raise BundleError(f"{folder} holds {old.source}: remove that first, or use --name")
    folder.mkdir(parents=True, exist_ok=True)
    fresh = unaccepted(plan, shelf)
    kept = tuple(
        found
        for found in (old.accepted if old else ())
        if found.url in {terms.terms.url for terms in plan.terms if terms not in fresh}
    )
    new = tuple(
        Acceptance(name=terms.terms.name, url=terms.terms.url, sha256=text_digest(terms.text), by=accepted_by, at=now)
        for terms in fresh
    )
    files = {}
    for item in plan.items:
        done = _in_place(item, folder, old)
        files[item.target] = old.files[item.target] if old and done else _planned(item)
    if old is not None and files != old.files:
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in old.files.keys() - files.keys():
            (folder / path).unlink(missing_ok=True)
    write_record(folder, Record(kind=plan.kind, source=plan.source, files=files, accepted=kept + new))


def complete(
    plan: Plan, shelf: Shelf, hub: Hub, watcher: Watcher, folders: Sequence[Path] = (), workers: int = CONNECTIONS
) -> None:
    """Brings everything that ``need`` lists, then makes the folder usable; ``begin`` was called before.

    Raises FileDownloadError and Unavailable from the hub, BundleError for a wrong checksum or a full disk. What was
    fetched until then is kept for the next call.
    """
    folder = shelf.folder(plan.name)
    missing = need(plan, shelf, folders)
    (folder / INCOMING).mkdir(exist_ok=True)

    def job(item: Item) -> Callable[[threading.Event], tuple[Item, Entry]]:
        return lambda stop: (item, _bring(item, folder, hub, watcher, missing.reusable.get(item.target, ()), stop))

    for wave in (
        [item for item in missing.items if item.target != plan.last],
        [item for item in missing.items if item.target == plan.last],
    ):
        for item, entry in side_by_side([job(item) for item in wave], workers):
            record = read_record(folder)
            assert record is not None
            write_record(folder, replace(record, files={**record.files, item.target: entry}))
    shutil.rmtree(folder / INCOMING)
    for name in sorted(plan.texts, key=lambda name: name == plan.last):
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != plan.texts[name] + "\n":
            write_text(folder / name, plan.texts[name])


def _bring(
    item: Item, folder: Path, hub: Hub, watcher: Watcher, reusable: Sequence[Path], stop: threading.Event
) -> Entry:
    watcher.begin(item.target, item.file.size)
    target = folder / item.target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        for found in reusable:
            watcher.checking(item.target)
            if is_same(found, item.file):
                watcher.finish(item.target, _take_over(found, target, folder.parent))
                return _whole(item, item.file.sha256 or sha256(target))
        part = _part(folder, item)
        _download(item, part, hub, watcher, stop)
        watcher.checking(item.target)
        try:
            digest = check(part, item.file)
        except BundleError:
            part.unlink()
            raise
        _put_in_place(part, target)
    except OSError as error:
        if is_disk_full(error):
            raise BundleError(
                f"the disk is full at {item.target}: make room and run the same command again, what is here is kept"
            ) from error
        raise BundleError(f"{target} cannot be written: {error.strerror or error}") from error
    watcher.finish(item.target, "fetched")
    return _whole(item, digest)


def _download(item: Item, part: Path, hub: Hub, watcher: Watcher, stop: threading.Event) -> None:
    def progress(count: int) -> None:
        watcher.advance(item.target, count)
        if stop.is_set():
            raise _Stopped

    done = part.stat().st_size if part.exists() else 0
    watcher.advance(item.target, min(done, item.file.size))
    fruitless = 0
    while True:
        try:
            return hub.download(item.file, part, progress)
        except Unavailable:
            reached = part.stat().st_size if part.exists() else 0
            fruitless = 0 if reached > done else fruitless + 1
            done = reached
            if fruitless == FRUITLESS:
                raise


class _Stopped(Exception):
    """Another file could not be brought."""


def _take_over(found: Path, target: Path, models: Path) -> str:
    """Another bundle's file is shared (either may be removed), a file from elsewhere is linked to and stays there."""
    target.unlink(missing_ok=True)
    if models.resolve() in found.resolve().parents:
        try:
            os.link(found.resolve(), target)
            return f"shared with {found.relative_to(models).parts[0]}"
        except OSError:
            pass
    target.symlink_to(found.resolve())
    return f"linked to {found.resolve()}"


def _put_in_place(part: Path, target: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    sync_folder(target.parent)


def _find(item: Item, shelf: Shelf, by_size: Mapping[int, Sequence[Path]]) -> Sequence[Path]:
    if item.file.sha256 and (shared := shelf.with_content(item.file.sha256, item.file.size)):
        return (shared,)
    # Under its own name first: four of the camera LoRAs have one and the same size.
    wanted = Path(item.file.path).name
    return sorted(by_size.get(item.file.size, ()), key=lambda path: path.name != wanted)


def _files_by_size(folders: Iterable[Path], sizes: set[int]) -> dict[int, list[Path]]:
    """Files below ``folders`` by their size, links to files followed as the hub's own cache has them."""
    found: dict[int, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise BundleError(f"{folder} is not a folder")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (size := path.stat().st_size) in sizes:
                found.setdefault(size, []).append(path)
    return found


def _in_place(item: Item, folder: Path, record: Record | None) -> bool:
    if record is None or item.target not in record.files or not has_file(folder, item.target, record):
        return False
    entry = record.files[item.target]
    return entry.sha256 == item.file.sha256 if item.file.sha256 else entry.origin == str(item.file)


def _part(folder: Path, item: Item) -> Path:
    """Named after the content: a part of another revision is never continued."""
    return folder / INCOMING / f"{item.target.replace('/', '--')}.{item.file.content}.part"


def _planned(item: Item) -> Entry:
    return Entry(size=item.file.size, sha256=item.file.sha256, origin=str(item.file))


def _whole(item: Item, digest: str) -> Entry:
    return replace(_planned(item), sha256=digest, whole=True)


def _repository(source: str) -> str:
    return source.partition("@")[0]


def gigabytes(size: int) -> str:
    """As disks are sold and the hub tells it: 10^9 bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
