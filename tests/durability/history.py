"""What a client of the queue did and saw, and the proof that it fits what the server promised.

The record is kept by the client alone; the checks compare it with what the disk held after each kill and at the end.
Each yields one sentence per broken promise.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from crash_snapshot import ENDED, Row, Snapshot

Fate = Literal["under way", "accepted", "refused", "unsent", "lost"]
"""Of a submit: answered with 2xx or with something else, never sent, or sent and never answered."""

Kind = Literal["status", "result", "file"]


@dataclass(slots=True)
class Submit:
    token: str
    """In the prompt, and in no other submit's."""
    body: bytes
    life: int
    """How many times the server had been killed when this was sent."""
    fate: Fate = "under way"
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """One answer about one request. ``final``: the server said that this is how the request ended."""

    id: str
    kind: Kind
    status: int
    final: bool
    body: bytes
    """Of a file its SHA-256."""
    size: int


@dataclass(slots=True)
class History:
    submits: dict[str, Submit] = field(default_factory=dict)
    sightings: list[Sighting] = field(default_factory=list)

    def begin(self, token: str, body: bytes, life: int) -> Submit:
        submit = self.submits[token] = Submit(token, body, life)
        return submit

    def saw_status(self, id: str, status: int, body: bytes) -> bool:
        """Records a poll; whether the request has ended."""
        final = status == 200 and json.loads(body)["status"] == "COMPLETED"
        self.sightings.append(Sighting(id, "status", status, final, body, len(body)))
        return final

    def saw_result(self, id: str, status: int, body: bytes) -> None:
        self.sightings.append(Sighting(id, "result", status, status == 200, body, len(body)))

    def saw_file(self, id: str, status: int, body: bytes) -> None:
        digest = hashlib.sha256(body).digest()
        self.sightings.append(Sighting(id, "file", status, status == 200, digest, len(body)))

    def with_fate(self, fate: Fate) -> list[Submit]:
        return [submit for submit in self.submits.values() if submit.fate == fate]

    def lost_in(self, life: int) -> list[str]:
        return [submit.token for submit in self.with_fate("lost") if submit.life == life]


def check_sightings(history: History) -> Iterator[str]:
    """What was accepted stays known, what has ended never changes, and every reader gets the same bytes."""
    ids = Counter(submit.id for submit in history.with_fate("accepted"))
    yield from (f"{id}: {count} submits got this id" for id, count in ids.items() if count > 1)
    ends: dict[tuple[str, Kind], bytes] = {}
    for seen in history.sightings:
        if seen.status not in (200, 202):
            yield f"{seen.id}: {seen.kind} answered {seen.status}"
        end = ends.get((seen.id, seen.kind))
        if end is not None and (not seen.final or seen.body != end):
            yield f"{seen.id}: {seen.kind} changed after the end: {end!r} became {seen.body!r}"
        elif seen.final:
            ends[seen.id, seen.kind] = seen.body


def check_submits(history: History, end: Snapshot) -> Iterator[str]:
    """Accepted submits are there, the others wholly there or not at all, and nothing is there that nobody sent."""
    rows: defaultdict[str | None, list[Row]] = defaultdict(list)
    for row in end.rows.values():
        rows[row.token].append(row)
    for submit in history.submits.values():
        found = rows.pop(submit.token, [])
        if submit.fate == "accepted" and [row.id for row in found] != [submit.id]:
            yield f"{submit.token}: accepted as {submit.id}, stored as {[row.id for row in found]}"
        if submit.fate == "lost" and len(found) > 1:
            yield f"{submit.token}: one submit, {len(found)} requests"
        if submit.fate in ("refused", "unsent", "under way") and found:
            yield f"{submit.token}: {submit.fate}, yet stored"
        for row in found:
            if row.input is None or json.loads(row.input) != json.loads(submit.body):
                yield f"{row.id}: stored with another input than was sent"
    for strays in rows.values():
        yield from (f"{row.id}: a request without its input, or that nobody sent" for row in strays)


def check_results(history: History, end: Snapshot) -> Iterator[str]:
    """Every request was made, once, and its result and file were read over HTTP as the rows describe them."""
    read = {(seen.id, seen.kind): seen for seen in history.sightings if seen.final}
    owned: defaultdict[str, list[str]] = defaultdict(list)
    for name, file in end.files.items():
        # Beside its output each has a poster, which has no reader here.
        if file.role != "poster":
            owned[file.request_id].append(name)
    for row in end.rows.values():
        names = owned.pop(row.id, [])
        if row.state != "done" or row.output is None:
            yield f"{row.id}: ended as {row.state} with {row.error}"
            continue
        if not 1 <= row.attempt <= row.max_attempts:
            yield f"{row.id}: attempt {row.attempt} of {row.max_attempts}"
        if len(names) != 1:
            yield f"{row.id}: {len(names)} files"
            continue
        unread = [kind for kind in ("status", "result", "file") if (row.id, kind) not in read]
        if unread:
            yield f"{row.id}: {unread} could not be read"
            continue
        video = json.loads(read[row.id, "result"].body)["video"]
        told = (video["url"].rpartition("/")[2], video["file_size"], read[row.id, "file"].size)
        size = end.files[names[0]].size
        if told != (names[0], size, size):
            yield f"{row.id}: told {told}, stored {names[0]} of {size} bytes"
    yield from (f"{id}: files of a request that is not there" for id in owned)


def check_disk(snapshot: Snapshot) -> Iterator[str]:
    """At any moment: an intact database, no row without its payload, no row without its file, ends as the rules say."""
    yield from snapshot.faults
    for name, file in snapshot.files.items():
        if snapshot.blobs.get(name) != file.size:
            yield f"{name}: {file.size} bytes by its row, {snapshot.blobs.get(name)} on disk"
    for row in snapshot.rows.values():
        if row.input is None:
            yield f"{row.id}: a row without its payload"
        if (row.state in ENDED) != (row.ended_at is not None):
            yield f"{row.id}: {row.state}, ended at {row.ended_at}"
        if (row.state == "done") != (row.output is not None):
            yield f"{row.id}: {row.state} {'without' if row.output is None else 'with'} an output"


def check_course(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    """From kill to kill: no row vanishes, none that has ended changes, no attempt is forgotten."""
    for before, after in pairwise(snapshots):
        for row in before.rows.values():
            now = after.rows.get(row.id)
            if now is None:
                yield f"{row.id}: vanished"
            elif row.state in ENDED and now != row:
                yield f"{row.id}: changed after its end: {row} became {now}"
            elif now.attempt < row.attempt:
                yield f"{row.id}: attempt {row.attempt} became {now.attempt}"


def violations(history: History, kills: Sequence[Snapshot], end: Snapshot) -> list[str]:
    """Every broken promise; ``kills`` are the states after each kill, ``end`` the one after a clean stop."""
    found = [*check_sightings(history), *check_submits(history, end), *check_results(history, end)]
    for number, snapshot in enumerate((*kills, end)):
        found += [f"after kill {number}: {fault}" for fault in check_disk(snapshot)]
    found += check_course((*kills, end))
    found += [f"{name}: a blob without a row after a clean stop" for name in end.orphans]
    found += [f"{name}: a scratch folder after a clean stop" for name in end.scratch]
    return found
