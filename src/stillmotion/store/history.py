"""The history of a tenant, waiting and running requests included: pages of it, marks on it, and what its works took.

A page is read from one range of one index. Where a condition is not in an index (words of the prompt, states, several
endpoints), one look ends after ``SCANNED`` requests, found or not, so that no reader waits for a whole history.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Executable

from stillmotion.store import history_statements as sql
from stillmotion.store import statements as requests
from stillmotion.store.records import FileRole, Request, State, StoredFile
from stillmotion.store.statements import INSERT_FILE
from stillmotion.store.transaction import Row, Transaction
from stillmotion.store.transitions import as_request

Place = tuple[float, int]
"""Where a request stands in the history: when it was made, and its ``seq``."""
FIRST: Place = (float("inf"), 0)

SCANNED = 2000
"""Requests that one look passes at most. A search in prompts of 250 characters takes 5 ms for them, and all readers
share one connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which requests of a tenant are meant, the newest first."""

    tenant: str
    endpoints: tuple[str, ...] | None = None
    """None: all."""
    states: frozenset[State] | None = None
    start: float = float("-inf")
    """Unix time from which on they were made."""
    after: Place = FIRST
    pinned: bool | None = None
    words: tuple[str, ...] = ()
    """All of them occur in the prompt; at most ``MAX_WORDS``, case-folded."""

    @property
    def indexed(self) -> bool:
        """Whether an index holds exactly what is meant."""
        one = self.pinned is None and self.endpoints is not None and len(self.endpoints) == 1
        return not (self.states or self.words or self.pinned is False) and (self.endpoints is None or one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A request as a listing shows it. Files that are over are left out."""

    request: Request
    pinned: bool
    prompt: str | None
    seed: int | None
    width: int | None
    height: int | None
    num_frames: int | None
    fps: float | None
    output: str | None
    """Name of the file."""
    content_type: str | None
    poster: str | None
    playable: str | None

    @property
    def place(self) -> Place:
        return self.request.created_at, self.request.seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    items: list[Item]
    behind: Place | None
    """Where the next look begins; None: there is nothing further."""


def page(question: Question, most: int, *, now: float) -> Transaction[Page]:
    """At most ``most`` requests, found among the next ``SCANNED`` ones."""
    listed, placed, chosen = _statements(question)
    span = {
        "tenant": question.tenant,
        "start": question.start,
        "after_at": question.after[0],
        "after_seq": question.after[1],
        **chosen,
    }
    down_to: Place | None = None
    if not question.indexed:
        places = yield placed, {**span, "skipped": SCANNED - 1}
        down_to = (places[0]["created_at"], places[0]["seq"]) if places else None
    # One more than asked for tells whether there is another page.
    end_at, end_seq = down_to or (question.start, 0)
    rows = yield listed, {**span, **_filters(question), "end_at": end_at, "end_seq": end_seq, "most": most + 1}
    items = [_item(row, now) for row in rows[:most]]
    if len(rows) > most:
        return Page(items=items, behind=items[-1].place)
    return Page(items=items, behind=down_to)


def get(tenant: str, id: str, *, now: float) -> Transaction[Item | None]:
    rows = yield sql.GET_ITEM, {"tenant": tenant, "id": id}
    return _item(rows[0], now) if rows else None


def payload(tenant: str, id: str) -> Transaction[tuple[str, str | None] | None]:
    """Input and output of a request as JSON text."""
    rows = yield requests.GET_PAYLOAD, {"tenant": tenant, "id": id}
    return (rows[0]["input"], rows[0]["output"]) if rows else None


def pin(tenant: str, id: str, *, now: float | None) -> Transaction[bool]:
    """Marks a request, or with ``now`` None takes the mark off. False: the tenant's history has no such request."""
    place = {"request_id": id, "of_tenant": tenant}
    return bool((yield (sql.UNPIN, place) if now is None else (sql.PIN, {**place, "now": now})))


def timings(endpoint: str, model: str, effort: str, most: int) -> Transaction[list[float]]:
    """Seconds that the engine took for the newest works of a class, whoever asked for them."""
    rows = yield sql.TIMINGS, {"endpoint": endpoint, "model": model, "effort": effort, "most": most}
    return [row["gpu_seconds"] for row in rows]


def output_file(tenant: str, id: str) -> Transaction[tuple[str, str] | None]:
    """Name and content type of what a request made, if it is still there for more than one reader."""
    rows = yield sql.HOLD_OUTPUT, {"tenant": tenant, "id": id}
    return (rows[0]["name"], rows[0]["content_type"]) if rows else None


def copy_file(id: str, role: FileRole) -> Transaction[StoredFile | None]:
    rows = yield sql.GET_COPY, {"id": id, "role": role}
    return StoredFile(role=role, **rows[0]) if rows else None


def add_copy(tenant: str, id: str, file: StoredFile, *, now: float) -> Transaction[StoredFile | None]:
    """Names a copy of what a request made; it ends with it. None, and nothing is stored: the original is gone."""
    rows = yield sql.HOLD_OUTPUT, {"tenant": tenant, "id": id}
    if not rows:
        return None
    file = replace(file, expires_at=rows[0]["expires_at"], acl=rows[0]["acl"])
    yield (
        INSERT_FILE,
        {
            "name": file.name,
            "id": id,
            "tenant": tenant,
            "content_type": file.content_type,
            "size": file.size,
            "now": now,
            "expires_at": file.expires_at,
            "role": file.role,
            "acl": file.acl,
        },
    )
    return file


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much there is to do for one endpoint."""

    waiting: dict[int, int]
    """By priority."""
    running: int
    oldest: float | None
    """When the longest waiting was made, in unix seconds."""


def depths() -> Transaction[dict[str, Depth]]:
    """Of the endpoints that have anything to do."""
    waiting: dict[str, dict[int, int]] = {}
    oldest: dict[str, float] = {}
    for row in (yield sql.WAITING, {}):
        waiting.setdefault(row["endpoint"], {})[row["priority"]] = row["count"]
        oldest[row["endpoint"]] = min(row["oldest"], oldest.get(row["endpoint"], row["oldest"]))
    running = {row["endpoint"]: row["count"] for row in (yield sql.RUNNING, {})}
    return {
        id: Depth(waiting=waiting.get(id, {}), running=running.get(id, 0), oldest=oldest.get(id))
        for id in waiting.keys() | running.keys()
    }


def _statements(question: Question) -> tuple[Executable, Executable, dict[str, str]]:
    if question.pinned:
        return sql.PAGE_OF_PINNED, sql.PLACE_OF_PINNED, {}
    if question.endpoints is not None and len(question.endpoints) == 1:
        return sql.PAGE_OF_ENDPOINT, sql.PLACE_OF_ENDPOINT, {"endpoint": question.endpoints[0]}
    return sql.PAGE, sql.PLACE, {}


def _filters(question: Question) -> dict[str, str | int | None]:
    words = [_escaped(word) for word in question.words]
    padded = [*words, *[None] * (sql.MAX_WORDS - len(words))]
    return {
        "states": _list(question.states),
        "endpoints": _list(question.endpoints),
        "unpinned": 1 if question.pinned is False else None,
        **{f"word{number}": word for number, word in enumerate(padded)},
    }


def _list(values: tuple[str, ...] | frozenset[State] | None) -> str | None:
    return None if values is None else "," + "".join(f"{value}," for value in sorted(values))


def _escaped(word: str) -> str:
    for character in "\\%_":
        word = word.replace(character, "\\" + character)
    return word


def _item(row: Row, now: float) -> Item:
    found = dict(row)
    pinned = found.pop("pinned_at") is not None
    told: dict[str, Any] = {
        name: found.pop(name) for name in ("prompt", "seed", "width", "height", "num_frames", "fps", "content_type")
    }
    for role in ("output", "poster", "playable"):
        name, expires = found.pop(f"{role}_name"), found.pop(f"{role}_expires")
        told[role] = name if expires is None or expires > now else None
    return Item(request=as_request(found), pinned=pinned, **told)
