"""What whoever runs the server looks at: how much waits, who used what, and how full the disks are."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from stillmotion.job import Progress
from stillmotion.service import timeframes
from stillmotion.service.attempt import Parts, Phase
from stillmotion.service.clock import wall_clock
from stillmotion.service.runner import Runner
from stillmotion.service.usage import Total, totals
from stillmotion.store import history, keys, listings, overview
from stillmotion.store.records import PRIORITIES, FileRole, Priority, Request, Usage

Line = tuple[datetime, str, str, str | None]
"""Day, key, endpoint and unit."""
KINDS: Mapping[FileRole | None, str] = {"output": "videos", "playable": "copies", "poster": "posters", None: "uploads"}
"""What a file is called here, by what it is to its request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much there is to do for one endpoint."""

    endpoint: str
    waiting: Mapping[Priority, int]
    running: int
    oldest_seconds: float | None
    """How long the first of them has waited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system that a folder lies on, or will."""

    folder: Path
    free: int
    total: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What lies on the disk of one kind."""

    files: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """A running request, and how far the work is if this process does it."""

    request: Request
    phase: Phase | None
    progress: Progress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Requests of all tenants: the longest running first, those that wait in their order, the newest failures."""

    running: list[Underway]
    waiting: list[Request]
    failed: list[Request]


class Operations:
    """``tenants`` that have no key: the machine's user, and the server itself."""

    def __init__(self, parts: Parts, runner: Runner, tenants: Iterable[str]) -> None:
        self._store, self._endpoints, self._tenants = parts.store, parts.endpoints, tuple(tenants)
        self._runner = runner

    async def depths(self) -> list[Depth]:
        """Of every endpoint, in the catalogue's order; then of those that are not served any more."""
        found, now = await self._store.read(history.depths()), wall_clock()
        return [_depth(id, found.get(id), now) for id in dict.fromkeys((*self._endpoints, *sorted(found)))]

    async def board(self, most: int) -> Board:
        """At most ``most`` requests of each sort."""
        found, runner = await self._store.read(overview.board(most)), self._runner
        return Board(
            running=[
                Underway(request=each, phase=runner.phase(each.id), progress=runner.progress(each.id))
                for each in found.running
            ],
            waiting=found.waiting,
            failed=found.failed,
        )

    async def files(self) -> dict[str, Kept]:
        """What requests and their senders have here, by kind; in steps that let other readers in between."""
        counts: dict[str | None, tuple[int, int]] = {}
        after: str | None = ""
        while after is not None:
            sizes = await self._store.read(overview.file_sizes(after))
            for role, (files, size) in sizes.counts.items():
                before = counts.get(role, (0, 0))
                counts[role] = before[0] + files, before[1] + size
            after = sizes.behind
        return {
            kind: Kept(files=files, size=size)
            for role, kind in KINDS.items()
            for files, size in [counts.get(role, (0, 0))]
        }

    async def usage(self, start: datetime, end: datetime, zone: tzinfo) -> dict[Line, Total]:
        """What each key used of each endpoint on each day of ``zone``, the oldest first."""
        every = (*self._tenants, *(key.tenant for key in await self._store.read(keys.every())))
        rows: list[Usage] = []
        # One indexed range for each key and endpoint: those who used nothing cost a look.
        for tenant in dict.fromkeys(every):
            slots = listings.used(
                tenant,
                tuple(self._endpoints),
                start=start.timestamp(),
                end=end.timestamp(),
                slot_seconds=timeframes.slot_seconds("day"),
            )
            rows += await self._store.read(slots)
        found = totals(rows, lambda row: _line(row, zone))
        return dict(sorted(found.items(), key=lambda item: (item[0][0], item[0][1:3], item[0][3] or "")))


def disk(folder: Path) -> Disk:
    """Of the folder, or of the one that it will be made in."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    usage = shutil.disk_usage(there)
    return Disk(folder=folder, free=usage.free, total=usage.total)


def kept(*paths: Path) -> Kept:
    """Everything below the folders among ``paths``, and the other ones that are there. It looks at every file."""
    files = [each for path in paths for each in ((path,) if path.is_file() else path.rglob("*")) if each.is_file()]
    return Kept(files=len(files), size=sum(each.stat().st_size for each in files))


def _depth(endpoint: str, found: history.Depth | None, now: float) -> Depth:
    waiting = found.waiting if found else {}
    return Depth(
        endpoint=endpoint,
        waiting={priority: waiting.get(number, 0) for number, priority in enumerate(PRIORITIES)},
        running=found.running if found else 0,
        oldest_seconds=None if found is None or found.oldest is None else max(0.0, now - found.oldest),
    )


def _line(row: Usage, zone: tzinfo) -> Line:
    day = timeframes.bucket(datetime.fromtimestamp(row.slot, zone), "day", zone)
    return day, row.tenant, row.endpoint, row.charge.unit if row.charge else None
