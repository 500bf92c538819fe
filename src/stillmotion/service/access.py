"""Who may read which file: by its URL alone, by a key, or by an address that its owner has signed."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from stillmotion.errors import BadRequest, Forbidden, NotFound
from stillmotion.service.acl import DECISIONS, Acl, Decision
from stillmotion.service.attempt import FILES_PATH
from stillmotion.service.clock import wall_clock
from stillmotion.service.keys import LOCAL_TENANT
from stillmotion.service.signatures import LONGEST_SECONDS
from stillmotion.service.signed_urls import IDENTITY, SignedUrls
from stillmotion.service.upload_names import UPLOADS_PATH, split_upload_path
from stillmotion.store import keys, transitions, uploads
from stillmotion.store.driver import Store
from stillmotion.store.records import OwnedFile

ABSENT = "File not found"
"""Also told of what is hidden."""
NOT_ALLOWED = "This file is not public, and you may not read it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What somebody who asks for a file brings along; the more generous of the two counts."""

    tenant: str | None = None
    """None: no key, or one that does not work."""
    identity: str | None = None
    """A signature of the file's URL, if it is one."""


class FileAccess:
    """Verbs that take a tenant answer NotFound for files of another."""

    def __init__(self, store: Store, signed: SignedUrls, *, default: Decision) -> None:
        self._store = store
        self._signed = signed
        self._default = default

    def admit(self, file: OwnedFile, reader: Reader) -> bool:
        """Whether anybody may read it: False if ``reader`` may, but not everybody.

        Raises Forbidden, or NotFound as for a file that does not exist.
        """
        acl = self._told(Acl.stored(file.acl))
        decisions = [_decision(acl, file, reader.tenant)]
        if reader.identity is not None and self._signed.admits(file.name, reader.identity):
            decisions.append("allow")
        decision = min(decisions, key=DECISIONS.index)
        if decision == "hide":
            raise NotFound(ABSENT)
        if decision == "forbid":
            raise Forbidden(NOT_ALLOWED)
        return acl.default == "allow"

    async def name_for(self, tenant: str, url: str) -> str:
        """The blob behind a URL of this server's, for a request of ``tenant``. Raises as ``admit``."""
        file = await self._find(url)
        identities = parse_qs(urlsplit(url).query).get(IDENTITY, [None])
        self.admit(file, Reader(tenant=tenant, identity=identities[0]))
        return file.name

    async def acl(self, tenant: str, url: str) -> Acl:
        """What holds for a file of the tenant's."""
        return self._told(Acl.stored((await self._own(tenant, url)).acl))

    async def set_acl(self, tenant: str, url: str, acl: Acl) -> Acl:
        """Replaces it; returns what holds then: rules for users that do not exist are dropped."""
        file = await self._own(tenant, url)
        acl = await self._known(acl)
        if not await self._store.write(uploads.set_acl(file.name, tenant=tenant, acl=acl.text())):
            raise NotFound(ABSENT)  # it expired meanwhile
        return self._told(acl)

    async def kept(self, acl: Acl | None) -> str | None:
        """What a new file is stored with."""
        return None if acl is None else (await self._known(acl)).text()

    async def sign(self, tenant: str, url: str, seconds: Any) -> str:
        """The URL of a file of the tenant's, signed. Raises BadRequest for a time out of its bounds."""
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= LONGEST_SECONDS:
            raise BadRequest(f"A signature is good for 1 to {LONGEST_SECONDS} whole seconds.")
        return await self._signed.sign(url, (await self._own(tenant, url)).name, seconds)

    def _told(self, acl: Acl) -> Acl:
        """With the server's default where it has none."""
        return replace(acl, default=acl.default or self._default)

    async def _known(self, acl: Acl) -> Acl:
        if not acl.rules:
            return acl
        tenants = {key.tenant for key in await self._store.read(keys.every()) if key.revoked_at is None}
        rules = {user: decision for user, decision in acl.rules.items() if user in tenants | {LOCAL_TENANT}}
        return replace(acl, rules=rules)

    async def _own(self, tenant: str, url: str) -> OwnedFile:
        file = await self._find(url)
        if file.tenant != tenant:
            raise NotFound(ABSENT)
        return file

    async def _find(self, url: str) -> OwnedFile:
        name, file_name = _place(url)
        file = await self._store.read(transitions.get_file(name))
        if file is None or file.file_name != file_name or is_over(file):
            raise NotFound(ABSENT)
        return file


def is_over(file: OwnedFile) -> bool:
    """Whether its time is: it is about to be deleted."""
    return file.expires_at is not None and file.expires_at <= wall_clock()


def _decision(acl: Acl, file: OwnedFile, tenant: str | None) -> Decision:
    if tenant == file.tenant:
        return "allow"
    assert acl.default
    return acl.rules.get(tenant, acl.default) if tenant else acl.default


def _place(url: str) -> tuple[str, str | None]:
    """The blob that a URL of this server's leads to, and what its sender called it. Raises NotFound."""
    try:
        path = urlsplit(url).path.removeprefix("/cdn")
    except ValueError:
        raise NotFound(ABSENT) from None
    if path.startswith(UPLOADS_PATH):
        if found := split_upload_path(unquote(path.removeprefix(UPLOADS_PATH))):
            return found
    elif path.startswith(FILES_PATH):
        return path.removeprefix(FILES_PATH), None
    raise NotFound(ABSENT)
