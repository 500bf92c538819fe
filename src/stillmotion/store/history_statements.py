"""The SQL of the history; history.py has the transactions. Written and compiled like the statements of requests."""

from typing import Any

from sqlalchemy import Executable, Float, Integer, String, and_, bindparam, func, literal, null, or_, select, update

from stillmotion.store import tables
from stillmotion.store.statements import REQUEST_COLUMNS

_r, _s, _f, _p = tables.requests.c, tables.summaries.c, tables.files.c, tables.payloads.c

MAX_WORDS = 8
"""Words of a search: each is a condition of a statement that is compiled once."""


def _optional(name: str, condition: Any, type: Any = String) -> Any:
    """``condition`` unless the parameter ``name`` is null."""
    return or_(bindparam(name, type_=type).is_(None), condition)


def _in_list(name: str, column: Any) -> Any:
    """ ",a,b," holds ",a,": a list of any length in a statement that is compiled once."""
    return _optional(name, bindparam(name, type_=String).like(literal("%,") + column + ",%"))


def _span(*where: Any) -> Any:
    """Requests of one tenant, behind the one that was seen last; ``where`` chooses the index."""
    after = bindparam("after_at", type_=Float)
    return and_(
        _r.tenant == bindparam("tenant"),
        *where,
        _r.created_at <= after,
        or_(_r.created_at < after, _r.seq < bindparam("after_seq", type_=Integer)),
    )


_FILTERS = and_(
    _in_list("states", _r.state),
    _in_list("endpoints", _r.endpoint),
    _optional("unpinned", _r.pinned_at.is_(None), Integer),
    *(
        _optional(f"word{n}", func.coalesce(_s.folded, "").contains(bindparam(f"word{n}"), escape="\\"))
        for n in range(MAX_WORDS)
    ),
)
_SHOWN = (_s.prompt, _s.seed, _s.width, _s.height, _s.num_frames, _s.fps)


def _files() -> Any:
    """The requests with their summaries and the files that were made for them."""
    joined = tables.requests.join(tables.summaries, _s.seq == _r.seq)
    columns = []
    for role in ("output", "poster", "playable"):
        file = tables.files.alias(role)
        joined = joined.outerjoin(file, and_(file.c.request_id == _r.id, file.c.role == literal(role)))
        columns += [file.c.name.label(f"{role}_name"), file.c.expires_at.label(f"{role}_expires")]
        if role == "output":
            columns.append(file.c.content_type.label("content_type"))
    return select(*REQUEST_COLUMNS, _r.pinned_at, *_SHOWN, *columns).select_from(joined)


_NEWEST_FIRST = (_r.created_at.desc(), _r.seq.desc())


def _page(*where: Any) -> Any:
    """At most ``most`` requests that fit, down to the place where the look ends."""
    # The only lower bound: of two, SQLite looks for either in the index and passes all that the other leaves out.
    end = bindparam("end_at", type_=Float)
    within = or_(_r.created_at > end, _r.seq >= bindparam("end_seq", type_=Integer))
    return (
        _files()
        .where(_span(*where), _r.created_at >= end, within, _FILTERS)
        .order_by(*_NEWEST_FIRST)
        .limit(bindparam("most"))
    )


def _place(*where: Any) -> Any:
    """The place of the request that is ``skipped`` further on: read from the index alone."""
    return (
        select(_r.created_at, _r.seq)
        .where(_span(*where), _r.created_at >= bindparam("start", type_=Float))
        .order_by(*_NEWEST_FIRST)
        .limit(literal(1, Integer))
        .offset(bindparam("skipped", type_=Integer))
    )


_ONE_ENDPOINT = _r.endpoint == bindparam("endpoint")
_PINNED = _r.pinned_at.is_not(None)

PAGE, PLACE = _page(), _place()
PAGE_OF_ENDPOINT, PLACE_OF_ENDPOINT = _page(_ONE_ENDPOINT), _place(_ONE_ENDPOINT)
PAGE_OF_PINNED, PLACE_OF_PINNED = _page(_PINNED), _place(_PINNED)

GET_ITEM = _files().where(_r.tenant == bindparam("tenant"), _r.id == bindparam("id"))
PIN = (
    update(tables.requests)
    .where(
        _r.id == bindparam("request_id"),
        _r.tenant == bindparam("of_tenant"),
        select(_s.seq).where(_s.seq == _r.seq).exists(),
    )
    .values(pinned_at=func.coalesce(_r.pinned_at, bindparam("now", type_=Float)))
    .returning(_r.seq)
)
UNPIN = (
    update(tables.requests)
    .where(
        _r.id == bindparam("request_id"),
        _r.tenant == bindparam("of_tenant"),
        select(_s.seq).where(_s.seq == _r.seq).exists(),
    )
    .values(pinned_at=null())
    .returning(_r.seq)
)

# The newest ones of a class: an index range that ends after ``most`` entries.
TIMINGS = (
    select(_r.gpu_seconds)
    .where(
        _r.endpoint == bindparam("endpoint"),
        _r.model == bindparam("model"),
        _r.effort == bindparam("effort"),
        _r.gpu_seconds.is_not(None),
    )
    .order_by(_r.seq.desc())
    .limit(bindparam("most"))
)

# A copy is named only while its original is there: the two are deleted together.
HOLD_OUTPUT = (
    select(_f.name, _f.content_type, _f.expires_at, _f.acl)
    .join(tables.requests, _r.id == _f.request_id)
    .join(tables.payloads, _p.request_id == _r.id)
    .where(_r.id == bindparam("id"), _r.tenant == bindparam("tenant"), _f.role == "output", _p.output.is_not(None))
)
GET_COPY = select(_f.name, _f.content_type, _f.size, _f.expires_at).where(
    _f.request_id == bindparam("id"), _f.role == bindparam("role")
)

# Counts over the partial indexes of what waits and what runs: nothing that has ended is looked at.
WAITING = (
    select(_r.endpoint, _r.priority, func.count().label("count"), func.min(_r.created_at).label("oldest"))
    .where(_r.state == "queued")
    .group_by(_r.endpoint, _r.priority)
)
RUNNING = select(_r.endpoint, func.count().label("count")).where(_r.state == "running").group_by(_r.endpoint)

HISTORY_STATEMENTS: tuple[Executable, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Executable)
)
"""Every statement above, for drivers that compile them once."""
