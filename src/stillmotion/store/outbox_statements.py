"""The SQL of the outbox; outbox.py has the transactions. Written and compiled like the statements of requests."""

from typing import Any

from sqlalchemy import Executable, Integer, and_, bindparam, func, insert, literal, null, select, update

from stillmotion.store import tables

_w, _d, _r = tables.webhooks.c, tables.webhook_deliveries.c, tables.requests.c

_DELIVERY = (_w.seq, _w.request_id, _w.tenant, _w.url, _w.host, _w.origin, _w.attempt, _w.failures)

INSERT_WEBHOOK = insert(tables.webhooks).values(
    request_id=bindparam("id"),
    tenant=bindparam("tenant"),
    url=bindparam("url"),
    host=bindparam("host"),
    origin=bindparam("origin"),
    state=bindparam("state"),
    attempt=0,
    failures=0,
    due_at=bindparam("due"),
)
# Nothing for a request without a webhook: one look at the index of request ids.
POST_WEBHOOK = (
    update(tables.webhooks)
    .where(_w.request_id == bindparam("id"), _w.state == "waiting")
    .values(state="pending", due_at=bindparam("now"))
)

NEXT_DUE = select(func.min(_w.due_at).label("due_at")).where(_w.due_at.is_not(None))
HOSTS_DUE = select(_w.host).where(_w.due_at <= bindparam("now")).group_by(_w.host).order_by(func.min(_w.due_at))
DUE_AT_HOST = (
    select(*_DELIVERY)
    .where(_w.host == bindparam("at_host"), _w.due_at <= bindparam("now"))
    .order_by(_w.due_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
)
CLAIM_DELIVERY = (
    update(tables.webhooks)
    .where(_w.seq == bindparam("claimed"))
    .values(attempt=_w.attempt + 1, due_at=null(), lease_expires=bindparam("expires"))
)
END_DELIVERY = (
    update(tables.webhooks)
    .where(
        and_(
            _w.seq == bindparam("fence_seq"),
            _w.attempt == bindparam("fence_attempt"),
            _w.lease_expires.is_not(None),
        )
    )
    .values(
        state=bindparam("new_state"),
        failures=bindparam("new_failures"),
        due_at=bindparam("new_due_at"),
        lease_expires=null(),
    )
    .returning(_w.seq)
)
INSERT_DELIVERY = insert(tables.webhook_deliveries).values(
    request_id=bindparam("id"),
    attempt=bindparam("of_attempt"),
    at=bindparam("began"),
    seconds=bindparam("took"),
    status=bindparam("answered"),
    error=bindparam("failed_by"),
    next_at=bindparam("then"),
)
LAPSED = (
    select(_w.seq, _w.request_id, _w.attempt)
    .where(_w.lease_expires < bindparam("before"))
    .with_for_update(skip_locked=True)
)
POST_AGAIN = (
    update(tables.webhooks).where(_w.seq == bindparam("lapsed")).values(due_at=bindparam("now"), lease_expires=null())
)
REDELIVER = (
    update(tables.webhooks)
    .where(_w.request_id == bindparam("id"), _w.tenant == bindparam("of_tenant"), _w.state != "waiting")
    .values(state="pending", failures=0, due_at=bindparam("now"), lease_expires=null())
    .returning(_w.seq)
)


def _statuses(*where: Any) -> Any:
    return (
        select(_w.seq, _w.request_id, _w.tenant, _r.endpoint, _w.url, _w.state, _w.attempt, _w.due_at)
        .join(tables.requests, _r.id == _w.request_id)
        .where(*where)
    )


def _listed(*where: Any) -> Any:
    """The newest first, from behind the one that was seen last."""
    behind = _w.seq < bindparam("after_seq")
    return _statuses(behind, *where).order_by(_w.seq.desc()).limit(bindparam("most", type_=Integer))


_OF_TENANT = _w.tenant == bindparam("tenant")
GET_WEBHOOK = _statuses(_OF_TENANT, _w.request_id == bindparam("id"))
LIST_WEBHOOKS = _listed(_OF_TENANT)
LIST_ALL_WEBHOOKS = _listed()
GET_DELIVERIES = (
    select(_d.attempt, _d.at, _d.seconds, _d.status, _d.error, _d.next_at)
    .where(_d.request_id == bindparam("id"))
    .order_by(_d.seq)
)
GET_LAST_DELIVERY = (
    select(_d.attempt, _d.at, _d.seconds, _d.status, _d.error, _d.next_at)
    .where(_d.request_id == bindparam("id"))
    .order_by(_d.seq.desc())
    .limit(literal(1, Integer))
)

OUTBOX_STATEMENTS = tuple(value for value in list(globals().values()) if isinstance(value, Executable))
"""Every statement above."""
