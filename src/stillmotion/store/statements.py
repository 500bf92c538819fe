"""The SQL of the state machine: Core expressions over the tables, compiled to text once per dialect by the drivers.

A claim is one statement; every write on behalf of a runner carries the fence (id, lease, attempt).
"""

from typing import Any

from sqlalchemy import (
    Executable,
    Float,
    Integer,
    String,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    update,
)

from stillmotion.store import tables

_r, _p, _l, _f = tables.requests.c, tables.payloads.c, tables.logs.c, tables.files.c
_w = tables.webhooks.c


def _fenced() -> Any:
    """The row is still held by the runner that names this lease and attempt."""
    return and_(
        _r.id == bindparam("fence_id"),
        _r.state == "running",
        _r.lease == bindparam("fence_lease"),
        _r.attempt == bindparam("fence_attempt"),
    )


_INTERNAL = {
    "max_attempts",
    "lease",
    "lease_expires",
    "error_kind",
    "forget_at",
    "weights",
    "start_by",
    "file_seconds",
    "preview",
    "pinned_at",
    "effort",
    "acl",
    "video_seconds",
}
REQUEST_COLUMNS = tuple(column for column in tables.requests.c if column.name not in _INTERNAL)
_CHARGE = (_r.quantity, _r.unit, _r.unit_price, _r.cost)
_HELD = (_r.id, _r.lease, _r.attempt, _r.max_attempts, _r.cancel_requested)
_UNLEASED = {"lease": null(), "lease_expires": null()}

INSERT_REQUEST = (
    insert(tables.requests)
    .values(
        id=bindparam("id"),
        tenant=bindparam("tenant"),
        app=bindparam("app"),
        endpoint=bindparam("endpoint"),
        origin=bindparam("origin"),
        state=bindparam("state"),
        created_at=bindparam("created_at"),
        ended_at=bindparam("ended_at"),
        attempt=0,
        max_attempts=bindparam("max_attempts"),
        cancel_requested=False,
        error=bindparam("error"),
        error_kind=bindparam("error_kind"),
        weights=bindparam("weights"),
        priority=bindparam("priority"),
        start_by=bindparam("start_by"),
        private=bindparam("private"),
        file_seconds=bindparam("file_seconds"),
        tags=bindparam("tags"),
        preview=bindparam("preview"),
        acl=bindparam("acl"),
    )
    .returning(_r.seq)
)
INSERT_PAYLOAD = insert(tables.payloads).values(request_id=bindparam("id"), input=bindparam("input"))
INSERT_LOG = insert(tables.logs).values(
    request_id=bindparam("id"), at=bindparam("at"), level=bindparam("level"), message=bindparam("message")
)
INSERT_FILE = insert(tables.files).values(
    name=bindparam("name"),
    request_id=bindparam("id"),
    tenant=bindparam("tenant"),
    content_type=bindparam("content_type"),
    size=bindparam("size"),
    created_at=bindparam("now"),
    expires_at=bindparam("expires_at"),
    role=bindparam("role"),
    acl=bindparam("acl"),
)


def _longest_waiting(*where: Any) -> Any:
    return (
        select(_r.seq, _r.endpoint, _r.weights, _r.priority, _r.created_at)
        # Those that came too late to start are ended by a sweep, within moments.
        .where(_r.state == "queued", *where, or_(_r.start_by.is_(None), _r.start_by > bindparam("now", type_=Float)))
        .order_by(_r.priority, _r.seq)
        .limit(literal(1, Integer))
        .with_for_update(skip_locked=True)
    )


# One row of one partial index each, however long the queue is.
OLDEST = _longest_waiting()
OLDEST_OF = _longest_waiting(_r.endpoint == bindparam("endpoint"))
OLDEST_WARM = _longest_waiting(_r.endpoint == bindparam("endpoint"), _r.weights == bindparam("weights"))
CLAIM = (
    update(tables.requests)
    .where(_r.seq == bindparam("claimed"), _r.state == "queued")
    .values(
        state="running",
        attempt=_r.attempt + 1,
        lease=bindparam("new_lease"),
        lease_expires=bindparam("expires"),
        started_at=bindparam("now"),
        engine=bindparam("by_engine"),
    )
    .returning(
        _r.id,
        _r.attempt,
        _r.tenant,
        _r.endpoint,
        _r.created_at,
        _r.max_attempts,
        _r.weights,
        _r.private,
        _r.file_seconds,
        _r.preview,
        _r.acl,
    )
)
GET_INPUT = select(_p.input).where(_p.request_id == bindparam("id"))
GET_OUTPUT = select(_p.output).where(_p.request_id == bindparam("id"))
BEAT = (
    update(tables.requests).where(_fenced()).values(lease_expires=bindparam("expires")).returning(_r.cancel_requested)
)
HOLD = select(_r.tenant).where(_fenced())
SETTLE = (
    update(tables.requests)
    .where(_fenced())
    .values(
        state=bindparam("new_state"),
        ended_at=bindparam("now"),
        inference_seconds=bindparam("new_inference_seconds"),
        model=bindparam("new_model"),
        safety=bindparam("new_safety"),
        computed=bindparam("new_computed"),
        error=bindparam("new_error"),
        error_kind=bindparam("new_error_kind"),
        quantity=bindparam("new_quantity"),
        unit=bindparam("new_unit"),
        unit_price=bindparam("new_unit_price"),
        cost=bindparam("new_cost"),
        gpu_seconds=bindparam("new_gpu_seconds"),
        ephemeral=bindparam("new_ephemeral"),
        forget_at=bindparam("new_forget_at"),
        effort=bindparam("new_effort"),
        video_seconds=bindparam("new_video_seconds"),
        **_UNLEASED,
    )
    .returning(_r.tenant, _r.seq)
)
SET_OUTPUT = update(tables.payloads).where(_p.request_id == bindparam("id")).values(output=bindparam("new_output"))

HOLD_FOR_RELEASE = select(*_HELD).where(_fenced()).with_for_update()
EXPIRED = (
    select(*_HELD)
    .where(_r.state == "running", _r.lease_expires < bindparam("before"))
    .with_for_update(skip_locked=True)
)
RELEASE = (
    update(tables.requests)
    .where(_fenced())
    .values(
        state=bindparam("new_state"),
        attempt=bindparam("new_attempt"),
        ended_at=bindparam("new_ended_at"),
        error=bindparam("new_error"),
        error_kind=bindparam("new_error_kind"),
        **_UNLEASED,
    )
)
END_LATE = (
    update(tables.requests)
    .where(_r.state == "queued", _r.start_by <= bindparam("late"))
    .values(
        state="failed",
        ended_at=bindparam("now"),
        error=bindparam("new_error"),
        error_kind=bindparam("new_error_kind"),
    )
    .returning(_r.id)
)
NEXT_START_BY = select(func.min(_r.start_by).label("start_by")).where(_r.state == "queued", _r.start_by.is_not(None))
END_QUEUED_RUNS = (
    update(tables.requests)
    .where(_r.state == "queued", _r.origin == "run")
    .values(
        state="cancelled",
        ended_at=bindparam("now"),
        error=bindparam("new_error"),
        error_kind=bindparam("new_error_kind"),
    )
    .returning(_r.id)
)
CANCEL_QUEUED = (
    update(tables.requests)
    .where(_r.id == bindparam("request_id"), _r.state == "queued")
    .values(
        state="cancelled",
        cancel_requested=True,
        ended_at=bindparam("now"),
        error=bindparam("new_error"),
        error_kind=bindparam("new_error_kind"),
    )
    .returning(_r.state)
)
CANCEL_RUNNING = (
    update(tables.requests)
    .where(_r.id == bindparam("request_id"), _r.state == "running")
    .values(cancel_requested=True)
    .returning(_r.state)
)
GET_STATE = select(_r.state).where(_r.id == bindparam("id"))
GET = select(*REQUEST_COLUMNS).where(_r.id == bindparam("id"))
GET_LOGS = select(_l.at, _l.level, _l.message).where(_l.request_id == bindparam("id")).order_by(_l.seq)
GET_LOGS_AFTER = (
    select(_l.seq, _l.at, _l.level, _l.message)
    .where(_l.request_id == bindparam("id"), _l.seq > bindparam("after_seq"))
    .order_by(_l.seq)
)
_of_priority = and_(_r.state == "queued", _r.priority == bindparam("of_priority"))
_head = select(_r.seq).where(_of_priority).order_by(_r.seq).limit(bindparam("most")).subquery()
# One text: as 1,000 rows it costs ten times as much of the one interpreter that also answers requests.
QUEUED = select(func.aggregate_strings(cast(_head.c.seq, String), literal_column("','")).label("seqs"))  # type: ignore[arg-type]  # a str becomes a parameter that only SQLAlchemy's own execution fills
LAST_QUEUED = select(func.max(_r.seq).label("seq")).where(_of_priority)
NEWEST = select(func.coalesce(func.max(_r.seq), 0).label("seq"))
# Counts no further than it has to.
QUEUE_LENGTH = select(func.count().label("length")).select_from(
    select(_r.seq).where(_r.state == "queued", _r.endpoint == bindparam("endpoint")).limit(bindparam("most")).subquery()
)
GET_FILE = select(_f.content_type, _f.size, _f.file_name, _f.expires_at, _f.acl, _f.tenant).where(
    _f.name == bindparam("name")
)
# With those of uploads whose parts were joined, but whose row was not written when the server died.
ALL_FILES = select(_f.name).union_all(
    select(tables.uploads.c.file.label("name")).where(tables.uploads.c.state == "sealed")
)

DUE = (
    select(_r.id)
    .where(
        _r.forget_at <= bindparam("now"),
        # A receiver that is told again and again until it answers is a reader too.
        ~select(_w.seq).where(_w.request_id == _r.id, _w.state == "pending").exists(),
    )
    .order_by(_r.forget_at)
    .limit(bindparam("most"))
)
FORGET_OUTPUT = update(tables.payloads).where(_p.request_id == bindparam("id")).values(output=null())
FORGOTTEN = (
    update(tables.requests).where(_r.id == bindparam("request_id")).values(forget_at=null()).returning(_r.ephemeral)
)
# Of a request that has ended and whose payloads are not kept.
FORGET_INPUT = (
    update(tables.payloads)
    .where(
        _p.request_id == bindparam("ended_id"),
        select(_r.id).where(_r.id == bindparam("ended_id"), _r.private.is_(True)).exists(),
    )
    .values(input="null")
)
DELETE_PAYLOAD = delete(tables.payloads).where(_p.request_id == bindparam("id"))
DELETE_FILES = delete(tables.files).where(_f.request_id == bindparam("id")).returning(_f.name, _f.role)
GET_STATE_OF = select(_r.state).where(_r.id == bindparam("id"), _r.tenant == bindparam("tenant")).with_for_update()
GET_PAYLOAD = (
    select(_p.input, _p.output)
    .join(tables.requests, _r.id == _p.request_id)
    .where(_r.id == bindparam("id"), _r.tenant == bindparam("tenant"))
)


def _ended() -> Any:
    """Ended requests of one tenant and endpoint within a span: one range of ix_requests_ended."""
    return and_(
        _r.tenant == bindparam("tenant"),
        _r.endpoint == bindparam("endpoint"),
        _r.ended_at >= bindparam("start"),
        _r.ended_at < bindparam("end"),
    )


def _listed(key: Any) -> Any:
    """Ended requests, greatest ``key`` first, from behind the one that was seen last."""
    after = bindparam("after_key", type_=Float)
    return (
        select(*REQUEST_COLUMNS, key.label("key"))
        .where(
            _ended(),
            or_(key < after, and_(key == after, _r.seq < bindparam("after_seq"))),
            # ",a,b," holds ",a,": a list of any length in a statement that is compiled once.
            or_(
                bindparam("kinds", type_=String).is_(None),
                bindparam("kinds", type_=String).like(literal("%,") + func.coalesce(_r.error_kind, "") + ",%"),
            ),
            or_(bindparam("only", type_=String).is_(None), _r.id == bindparam("only", type_=String)),
        )
        .order_by(key.desc(), _r.seq.desc())
        .limit(bindparam("most"))
    )


LIST_BY_END = _listed(_r.ended_at)
LIST_BY_DURATION = _listed(func.coalesce(_r.ended_at - _r.started_at, 0.0))


def _used(*where: Any) -> Any:
    """Successes, those that cost the same within one slot of time as one row: sums stay exact, because the reader
    multiplies decimals by a count."""
    slot = cast(_r.ended_at / bindparam("slot_seconds", type_=Float), Integer).label("slot")
    return (
        select(
            _r.tenant,
            _r.endpoint,
            slot,
            *_CHARGE,
            func.count().label("requests"),
            func.coalesce(func.sum(_r.gpu_seconds), 0.0).label("gpu_seconds"),
            func.coalesce(func.sum(_r.video_seconds), 0.0).label("video_seconds"),
        )
        .where(_r.state == "done", *where)
        .group_by(_r.tenant, _r.endpoint, slot, *_CHARGE)
        .order_by(_r.tenant, _r.endpoint, slot)
    )


USED = _used(_ended())
USED_BY_ALL = _used(_r.ended_at >= bindparam("start"))
CHARGES = (
    select(func.count().label("requests"), *_CHARGE)
    .where(
        _r.state == "done", _r.tenant == bindparam("tenant"), _r.endpoint == bindparam("endpoint"), _r.cost.is_not(None)
    )
    .group_by(*_CHARGE)
)

STATEMENTS: tuple[Executable, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Executable))
"""Every statement above, for drivers that compile them once."""
