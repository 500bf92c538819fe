"""API keys: who a caller is, and what it may do.

A key is ``id:secret``. The secret is 160 random bits, so its SHA-256 is all that is kept: there is no guess to slow
down. Keys of one name are one tenant's: a new key for it and the old one's revocation change nothing else.
"""

import hashlib
import hmac
import re
import secrets
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass

from stillmotion.errors import BadRequest, Forbidden, NotFound, Unauthorized
from stillmotion.service.clock import wall_clock
from stillmotion.store import keys
from stillmotion.store.driver import Store
from stillmotion.store.records import Key, Scope
from stillmotion.store.transitions import Transaction

LOCAL_TENANT = "local"
"""A server bound to loopback has one tenant: the machine's user."""
REMEMBERED_SECONDS = 2.0
"""How long an accepted key is not looked up again, and so how long a revoked one still works: clients poll ten times a
second."""
REMEMBERED = 4096
SECRET_BYTES = 20
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_SCHEMES = ("key", "bearer")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    tenant: str
    admin: bool
    key: str | None = None
    """The id of the key that says so; None: nobody is asked for one."""


LOCAL = Caller(LOCAL_TENANT, admin=True)


class Keys:
    """Authenticates callers. ``required`` False: everybody is the local tenant, whatever key they send, if any."""

    def __init__(self, store: Store, *, required: bool) -> None:
        self._store = store
        self._required = required
        self._accepted: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        """Digest of the whole key to the end of its time and its caller."""

    async def caller(self, authorization: str | None) -> Caller:
        """Who sends this ``Authorization`` header. Raises Unauthorized."""
        if not self._required:
            return LOCAL
        if not authorization:
            raise Unauthorized
        id, secret = _parse(authorization)
        known = hashlib.sha256(f"{id}:{secret}".encode()).hexdigest()
        until, caller = self._accepted.get(known, (0.0, LOCAL))
        if time.monotonic() < until:
            return caller
        key = await self._store.read(keys.get(id))
        # The digest is compared for unknown keys as well: the answer takes as long.
        right = hmac.compare_digest(_digest(secret), key.digest if key else _digest(""))
        if key is None or not right or key.revoked_at is not None:
            self._accepted.pop(known, None)
            raise Unauthorized("invalid key credentials")
        caller = Caller(key.tenant, admin=key.scope == "admin", key=key.id)
        self._accepted[known] = (time.monotonic() + REMEMBERED_SECONDS, caller)
        while len(self._accepted) > REMEMBERED:
            self._accepted.popitem(last=False)
        return caller

    async def holder(self, id: str | None) -> Caller:
        """Whose key the one with this id is, for what is done on its behalf and is never administration. Raises
        Unauthorized when it works no longer; None is one where nobody is asked for any."""
        if not self._required:
            return LOCAL
        key = await self._store.read(keys.get(id)) if id else None
        if key is None or key.revoked_at is not None:
            raise Unauthorized("invalid key credentials")
        return Caller(key.tenant, admin=False, key=key.id)

    async def administrator(self, authorization: str | None) -> Caller:
        """As ``caller``; raises Forbidden unless it may administer."""
        caller = await self.caller(authorization)
        if not caller.admin:
            raise Forbidden
        return caller

    @property
    def required(self) -> bool:
        return self._required

    async def every(self) -> list[Key]:
        """The oldest first, revoked ones included."""
        return await self._store.read(keys.every())

    async def create(self, name: str, scope: Scope) -> str:
        """``id:secret`` of a new key for the tenant ``name``, which is told this once. Raises BadRequest."""
        key, transaction = new_key(name, scope)
        await self._store.write(transaction)
        return key

    async def revoke(self, id: str) -> None:
        """Raises NotFound for one that does not work any more, BadRequest for the last one that may administer."""
        working = [key for key in await self.every() if key.revoked_at is None]
        admins = [key.id for key in working if key.scope == "admin"]
        if self._required and admins == [id]:
            raise BadRequest("this is the last admin key; make another one first")
        if not await self._store.write(keys.revoke(id, now=wall_clock())):
            raise NotFound(f"There is no key {id!r}, or it was revoked before")
        self._accepted.clear()

    async def first(self) -> str | None:
        """A first admin key, where keys are required and there is none that works; it is told this once."""
        if not self._required or any(key.revoked_at is None for key in await self._store.read(keys.every())):
            return None
        key, transaction = new_key("admin", "admin")
        await self._store.write(transaction)
        return key


def new_key(name: str, scope: Scope) -> tuple[str, Transaction[None]]:
    """``id:secret`` for the tenant ``name``, and the transaction that stores it. Raises BadRequest for a bad name."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f"{name!r} is no name for a key: use up to 64 of a-z, 0-9, '.', '_' and '-'")
    id, secret = str(uuid.uuid4()), secrets.token_hex(SECRET_BYTES)
    stored = keys.create(id, tenant=name, scope=scope, digest=_digest(secret), now=wall_clock())
    return f"{id}:{secret}", stored


def _parse(authorization: str) -> tuple[str, str]:
    scheme, _, credentials = authorization.strip().partition(" ")
    id, separator, secret = credentials.strip().partition(":")
    if scheme.lower() not in _SCHEMES or not separator:
        raise Unauthorized("invalid key credentials")
    return id, secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
