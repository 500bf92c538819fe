"""Asked twice, made once: requests that are found again by their Idempotency-Key, or by a reply that nobody had.

Both are looked up and remembered in the transaction that submits, so of two equal submits the second finds the first,
however close together they come.

A row of ``unanswered`` is the memory of a submit until its reply was written. Which of them are still being answered
only the process that answers them knows; the others, those of a process that died among them, were lost, and an equal
submit without a key takes one of them over instead of making a request of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Executable, bindparam, delete, func, insert, select, update

from stillmotion.errors import IdempotencyKeyReused
from stillmotion.store import tables, transitions
from stillmotion.store.records import PRIORITIES, Error, LogLine, NewRequest, State
from stillmotion.store.transaction import Row, Transaction

_k, _u, _r = tables.idempotency_keys.c, tables.unanswered.c, tables.requests.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A submit with an Idempotency-Key."""

    key: str
    digest: str
    """Of what is asked for."""
    expires_at: float
    """Unix time from which on the key means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unkeyed:
    """A submit that is a repetition only of one whose reply was lost."""

    digest: str
    """Of what is asked for, and by whom."""
    since: float
    """Unix time; a request that was last asked for before then is nobody's."""
    answering: frozenset[str] | None = None
    """Holders of equal requests whose replies are not lost. None: no reply to such a request was, so none is looked
    for."""


Identity = Keyed | Unkeyed


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The request that a submit is about."""

    id: str
    seq: int
    state: State
    priority: int
    repeated: bool
    """It was stored by an earlier submit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A reply that was written: to the POST ``holder``, about the request ``id``."""

    digest: str
    id: str
    holder: str


_REQUEST = (_r.id, _r.seq, _r.state, _r.priority)

FIND_KEY = (
    select(_k.digest, _k.expires_at, *_REQUEST)
    .join(tables.requests, _r.id == _k.request_id)
    .where(_k.tenant == bindparam("tenant"), _k.key == bindparam("key"))
    .with_for_update()
)
HOLD_KEY = insert(tables.idempotency_keys).values(
    tenant=bindparam("tenant"),
    key=bindparam("key"),
    digest=bindparam("digest"),
    request_id=bindparam("id"),
    expires_at=bindparam("expires_at"),
)
DROP_KEY = delete(tables.idempotency_keys).where(_k.tenant == bindparam("key_tenant"), _k.key == bindparam("old_key"))
EXPIRED_KEYS = (
    select(_k.tenant, _k.key).where(_k.expires_at <= bindparam("now")).order_by(_k.expires_at).limit(bindparam("most"))
)
EXPECT_REPLY = insert(tables.unanswered).values(
    digest=bindparam("digest"), request_id=bindparam("id"), holder=bindparam("holder"), at=bindparam("now")
)
# Somebody ended a cancelled one on purpose: it is not what the next equal submit means.
FIND_UNANSWERED = (
    select(_u.holder, *_REQUEST)
    .join(tables.requests, _r.id == _u.request_id)
    .where(_u.digest == bindparam("digest"), _u.at > bindparam("since"), _r.state != "cancelled")
    .order_by(_r.seq)
    .with_for_update(skip_locked=True)
)
TAKE_OVER = (
    update(tables.unanswered)
    .where(_u.digest == bindparam("of_digest"), _u.request_id == bindparam("id"))
    .values(holder=bindparam("new_holder"), at=bindparam("now"))
)
FORGET_ANSWERED = delete(tables.unanswered).where(
    _u.digest == bindparam("of_digest"), _u.request_id == bindparam("id"), _u.holder == bindparam("of_holder")
)
FORGET_UNANSWERED = delete(tables.unanswered).where(_u.at <= bindparam("before"))
UNANSWERED = select(_u.digest, _u.at).order_by(_u.at)
OLDEST_UNANSWERED = select(func.min(_u.at).label("at"))
DUPLICATE_STATEMENTS: tuple[Executable, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Executable)
)


def submit(
    new: NewRequest,
    identity: Identity | None,
    *,
    now: float,
    error: Error | None = None,
    lines: Iterable[LogLine] = (),
    max_queue: int | None = None,
) -> Transaction[Submitted]:
    """Stores a request as ``transitions.submit`` does, unless ``identity`` says that it is stored: then nothing of
    ``new`` is kept, however long the queue is.

    Raises IdempotencyKeyReused or QueueFull, and stores nothing.
    """
    if identity is not None and (row := (yield from _find(new, identity, now))) is not None:
        return Submitted(id=row["id"], seq=row["seq"], state=row["state"], priority=row["priority"], repeated=True)
    seq = yield from transitions.submit(new, now=now, error=error, lines=lines, max_queue=max_queue)
    if isinstance(identity, Keyed):
        place = {"tenant": new.tenant, "key": identity.key, "digest": identity.digest}
        yield HOLD_KEY, {**place, "id": new.id, "expires_at": identity.expires_at}
    elif identity is not None:
        yield EXPECT_REPLY, {"digest": identity.digest, "id": new.id, "holder": new.id, "now": now}
    return Submitted(
        id=new.id,
        seq=seq,
        state="failed" if error else "queued",
        priority=PRIORITIES.index(new.options.priority),
        repeated=False,
    )


def answered(replies: Iterable[Written]) -> Transaction[None]:
    """These were written: an equal submit means a new request from now on."""
    for reply in replies:
        yield FORGET_ANSWERED, {"of_digest": reply.digest, "id": reply.id, "of_holder": reply.holder}


def unanswered() -> Transaction[list[tuple[str, float]]]:
    """Digests of the requests whose replies are under way or were lost, with the unix times of their last POSTs, the
    oldest first."""
    return [(row["digest"], row["at"]) for row in (yield UNANSWERED, {})]


def oldest_unanswered() -> Transaction[float | None]:
    (row,) = yield OLDEST_UNANSWERED, {}
    at: float | None = row["at"]
    return at


def forget_unanswered(*, before: float) -> Transaction[None]:
    yield FORGET_UNANSWERED, {"before": before}


def expired_keys(*, now: float, most: int) -> Transaction[list[tuple[str, str]]]:
    """Tenants and keys that mean nothing any more."""
    return [(row["tenant"], row["key"]) for row in (yield EXPIRED_KEYS, {"now": now, "most": most})]


def drop_keys(keys: Iterable[tuple[str, str]]) -> Transaction[None]:
    for tenant, key in keys:
        yield DROP_KEY, {"key_tenant": tenant, "old_key": key}


def _find(new: NewRequest, identity: Identity, now: float) -> Transaction[Row | None]:
    if isinstance(identity, Keyed):
        return (yield from _of_key(new.tenant, identity, now))
    if identity.answering is None:
        return None
    for row in (yield FIND_UNANSWERED, {"digest": identity.digest, "since": identity.since}):
        if row["holder"] not in identity.answering:
            yield TAKE_OVER, {"of_digest": identity.digest, "id": row["id"], "new_holder": new.id, "now": now}
            return row
    return None


def _of_key(tenant: str, keyed: Keyed, now: float) -> Transaction[Row | None]:
    rows = yield FIND_KEY, {"tenant": tenant, "key": keyed.key}
    if not rows:
        return None
    (row,) = rows
    if row["expires_at"] <= now:
        yield from drop_keys([(tenant, keyed.key)])
        return None
    if row["digest"] != keyed.digest:
        raise IdempotencyKeyReused
    return row
