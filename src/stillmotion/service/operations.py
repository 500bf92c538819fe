"""What whoever runs the server looks at: how much waits, who used what, and how full the disks are."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from stillmotion.service import timeframes
from stillmotion.service.attempt import Parts
from stillmotion.service.clock import wall_clock
from stillmotion.service.usage import Total, totals
from stillmotion.store import history, keys, listings
from stillmotion.store.records import PRIORITIES, Priority, Usage

Line = tuple[datetime, str, str, str | None]
"""Day, key, endpoint and unit."""


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


class Operations:
    """``tenants`` that have no key: the machine's user, and the server itself."""

    def __init__(self, parts: Parts, tenants: Iterable[str]) -> None:
        self._store, self._endpoints, self._tenants = parts.store, parts.endpoints, tuple(tenants)

    async def depths(self) -> list[Depth]:
        """Of every endpoint, in the catalogue's order; then of those that are not served any more."""
        found, now = await self._store.read(history.depths()), wall_clock()
        return [_depth(id, found.get(id), now) for id in dict.fromkeys((*self._endpoints, *sorted(found)))]

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
