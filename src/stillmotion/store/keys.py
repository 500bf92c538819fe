"""API keys as transactions: what is stored of a key never lets anybody use it."""

from sqlalchemy import Executable, bindparam, insert, select, update

from stillmotion.store import tables
from stillmotion.store.records import Key, Scope
from stillmotion.store.transitions import Row, Transaction

_k = tables.keys.c

INSERT_KEY = insert(tables.keys).values(
    id=bindparam("id"),
    tenant=bindparam("tenant"),
    scope=bindparam("scope"),
    digest=bindparam("digest"),
    created_at=bindparam("now"),
)
GET_KEY = select(tables.keys).where(_k.id == bindparam("id"))
LIST_KEYS = select(tables.keys).order_by(_k.created_at, _k.id)
REVOKE_KEY = (
    update(tables.keys)
    .where(_k.id == bindparam("key_id"), _k.revoked_at.is_(None))
    .values(revoked_at=bindparam("now"))
    .returning(_k.id)
)
KEY_STATEMENTS: tuple[Executable, ...] = (INSERT_KEY, GET_KEY, LIST_KEYS, REVOKE_KEY)


def create(id: str, *, tenant: str, scope: Scope, digest: str, now: float) -> Transaction[None]:
    yield INSERT_KEY, {"id": id, "tenant": tenant, "scope": scope, "digest": digest, "now": now}


def get(id: str) -> Transaction[Key | None]:
    rows = yield GET_KEY, {"id": id}
    return _key(rows[0]) if rows else None


def every() -> Transaction[list[Key]]:
    """The oldest first, revoked ones included."""
    rows = yield LIST_KEYS, {}
    return [_key(row) for row in rows]


def revoke(id: str, *, now: float) -> Transaction[bool]:
    """False when there is no such key, or it was revoked before."""
    return bool((yield REVOKE_KEY, {"key_id": id, "now": now}))


def _key(row: Row) -> Key:
    return Key(**row)
