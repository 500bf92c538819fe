"""What all tenants together wait for, are given and keep: reads for whoever runs the server."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Executable, Integer, bindparam, func, literal, select

from stillmotion.store import tables
from stillmotion.store.records import Request
from stillmotion.store.statements import REQUEST_COLUMNS
from stillmotion.store.transitions import Transaction, as_request

_r, _f = tables.requests.c, tables.files.c
_MOST = bindparam("most", type_=Integer)

SCANNED = 2000
"""Requests, the newest ones, that are looked through for failures: no index holds those of all tenants."""
FILES_AT_ONCE = 5000
"""Rows of files that one look sums up, in 3 ms: all readers share one connection."""

# Each is the beginning of a partial index.
RUNNING_REQUESTS = select(*REQUEST_COLUMNS).where(_r.state == "running").order_by(_r.started_at, _r.seq).limit(_MOST)
WAITING_REQUESTS = select(*REQUEST_COLUMNS).where(_r.state == "queued").order_by(_r.priority, _r.seq).limit(_MOST)
FAILED_REQUESTS = (
    select(*REQUEST_COLUMNS)
    .where(_r.seq > select(func.max(_r.seq) - literal(SCANNED, Integer)).scalar_subquery(), _r.state == "failed")
    .order_by(_r.seq.desc())
    .limit(_MOST)
)
_some = (
    select(_f.name, _f.role, _f.size)
    .where(_f.name > bindparam("after"))
    .order_by(_f.name)
    .limit(literal(FILES_AT_ONCE, Integer))
    .subquery()
)
FILE_SIZES = select(
    _some.c.role,
    func.count().label("count"),
    func.sum(_some.c.size).label("size"),
    func.max(_some.c.name).label("last"),
).group_by(_some.c.role)

OVERVIEW_STATEMENTS: tuple[Executable, ...] = (RUNNING_REQUESTS, WAITING_REQUESTS, FAILED_REQUESTS, FILE_SIZES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Requests of all tenants."""

    running: list[Request]
    """The longest running first."""
    waiting: list[Request]
    """As they are served, but for what engines prefer."""
    failed: list[Request]
    """The newest first, among the newest ``SCANNED`` requests."""


def board(most: int) -> Transaction[Board]:
    """At most ``most`` of each."""
    found = {}
    for name, statement in (("running", RUNNING_REQUESTS), ("waiting", WAITING_REQUESTS), ("failed", FAILED_REQUESTS)):
        rows = yield statement, {"most": most}
        found[name] = [as_request(row) for row in rows]
    return Board(**found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Files by what they are to their requests, None for uploads: how many, and their bytes."""

    counts: Mapping[str | None, tuple[int, int]]
    behind: str | None
    """Where the next look begins; None: that was all."""


def file_sizes(after: str) -> Transaction[Sizes]:
    """Of at most ``FILES_AT_ONCE`` files, from behind the name that was seen last."""
    rows = yield FILE_SIZES, {"after": after}
    whole = sum(row["count"] for row in rows) == FILES_AT_ONCE
    return Sizes(
        counts={row["role"]: (row["count"], row["size"]) for row in rows},
        behind=max(row["last"] for row in rows) if whole else None,
    )
