"""The SQL of the state machine: Core expressions over the tables, compiled to text once per dialect by the drivers.

A claim is one statement; every write on behalf of a runner carries the fence (id, lease, attempt).
"""

from typing import Any

from sqlalchemy import Executable, Integer, and_, bindparam, insert, literal, null, select, update

from stillmotion.store import tables

_r, _p, _l, _f = tables.requests.c, tables.payloads.c, tables.logs.c, tables.files.c


def _fenced() -> Any:
    """The row is still held by the runner that names this lease and attempt."""
    return and_(
        _r.id == bindparam("fence_id"),
        _r.state == "running",
        _r.lease == bindparam("fence_lease"),
        _r.attempt == bindparam("fence_attempt"),
    )


_COLUMNS = tuple(
    column for column in tables.requests.c if column.name not in {"max_attempts", "lease", "lease_expires"}
)
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
)
CLAIM = (
    update(tables.requests)
    .where(
        _r.seq
        == select(_r.seq)
        .where(_r.state == "queued")
        .order_by(_r.seq)
        .limit(literal(1, Integer))
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    .values(
        state="running",
        attempt=_r.attempt + 1,
        lease=bindparam("new_lease"),
        lease_expires=bindparam("expires"),
        started_at=bindparam("now"),
    )
    .returning(_r.id, _r.attempt, _r.tenant, _r.endpoint, _r.created_at, _r.max_attempts)
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
        error=bindparam("new_error"),
        **_UNLEASED,
    )
    .returning(_r.tenant)
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
        **_UNLEASED,
    )
)
END_QUEUED_RUNS = (
    update(tables.requests)
    .where(_r.state == "queued", _r.origin == "run")
    .values(state="cancelled", ended_at=bindparam("now"), error=bindparam("new_error"))
    .returning(_r.id)
)
CANCEL_QUEUED = (
    update(tables.requests)
    .where(_r.id == bindparam("request_id"), _r.state == "queued")
    .values(state="cancelled", cancel_requested=True, ended_at=bindparam("now"), error=bindparam("cancelled"))
    .returning(_r.state)
)
CANCEL_RUNNING = (
    update(tables.requests)
    .where(_r.id == bindparam("request_id"), _r.state == "running")
    .values(cancel_requested=True)
    .returning(_r.state)
)
GET_STATE = select(_r.state).where(_r.id == bindparam("id"))
GET = select(*_COLUMNS).where(_r.id == bindparam("id"))
GET_LOGS = select(_l.at, _l.level, _l.message).where(_l.request_id == bindparam("id")).order_by(_l.seq)
QUEUED = select(_r.seq).where(_r.state == "queued").order_by(_r.seq).limit(bindparam("most"))
GET_FILE = select(_f.content_type, _f.size).where(_f.name == bindparam("name"))
ALL_FILES = select(_f.name)

STATEMENTS: tuple[Executable, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Executable))
"""Every statement above, for drivers that compile them once."""
