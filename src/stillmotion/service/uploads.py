"""The verbs of storage: files that clients send, whole or in parts, and for how long they are kept."""

import asyncio
import errno
import filecmp
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from stillmotion.errors import BadRequest, NotFound, StillmotionError, Unavailable
from stillmotion.files.blobs import LocalBlobs, new_name
from stillmotion.files.uploads import UploadParts
from stillmotion.service.access import ABSENT, FileAccess, is_over
from stillmotion.service.acl import Acl
from stillmotion.service.clock import wall_clock
from stillmotion.service.upload_names import (
    UPLOAD_EXTENSION,
    clean_content_type,
    clean_file_name,
    split_upload_path,
    upload_path,
)
from stillmotion.service.upload_tokens import UploadToken, UploadTokens
from stillmotion.store import transitions
from stillmotion.store import uploads as rows
from stillmotion.store.driver import Store
from stillmotion.store.records import OwnedFile, Part, StoredFile, Upload
from stillmotion.store.transitions import Transaction

log = structlog.get_logger()

GONE = "There is no such upload, or it has expired."
OUT_OF_SPACE = "The server is out of disk space."
MAX_PARTS = 10_000
"""As with S3. Both clients send parts of 10 MiB."""
FREE_CHECK_BYTES = 16 << 20
"""How much of a body is read between two looks at the free space."""
_ID = re.compile(r"[0-9a-f]{40}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPolicy:
    """Bounds of uploads, in bytes and seconds."""

    max_bytes: int
    max_part_bytes: int
    max_unfinished: int
    """Of one tenant."""
    min_free: int
    lifetime: float | None
    """How long a file is kept whose sender says nothing; None: for ever."""
    unfinished: float
    """How long an upload may take from its first request to its last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a sender says of its file."""

    file_name: str | None = None
    content_type: str | None = None
    lifetime: float | None = None
    """Seconds; infinite: for ever; None: it says nothing."""
    acl: Acl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What a client says of an upload besides its id: both must be true of it."""

    tenant: str
    path: str
    """Of its file, unquoted, after ``UPLOADS_PATH``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The bytes of a request as they arrive."""

    chunks: AsyncIterator[bytes]
    length: int = 0
    """As the sender declared it, 0 if it did not: never believed, but it saves a transfer that cannot succeed."""


class Uploads:
    """Every verb takes bytes as a stream and keeps none; when it returns, what it took outlives a power cut.

    Verbs raise NotFound, BadRequest, FileTooLargeError and Unavailable.
    """

    def __init__(
        self,
        store: Store,
        blobs: LocalBlobs,
        parts: UploadParts,
        tokens: UploadTokens,
        access: FileAccess,
        policy: UploadPolicy,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._parts = parts
        self._tokens = tokens
        self._access = access
        self._policy = policy
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def issue_token(self, tenant: str) -> UploadToken:
        return self._tokens.issue(tenant, now=wall_clock())

    def tenant_of(self, token: str) -> str | None:
        """Whose upload token it is; None for one that has expired or was not issued here."""
        return self._tokens.tenant(token, now=wall_clock())

    async def receive(self, tenant: str, described: Described, body: Body) -> str:
        """Stores a file that comes whole; gives its path."""
        self._check_space(body.length)
        file_name, content_type = _clean(described)
        acl = await self._access.kept(described.acl)
        name = new_name(UPLOAD_EXTENSION)
        with _disk_faults():
            async with self._blobs.incoming(self._checked(body), max_bytes=self._policy.max_bytes) as incoming:
                size = _size(incoming)
                await self._blobs.adopt_as(incoming, name)
        now = wall_clock()
        file = StoredFile(
            name=name,
            content_type=content_type,
            size=size,
            file_name=file_name,
            expires_at=_end(self._lifetime(described), now),
            acl=acl,
        )
        await self._name(file, rows.add_file(file, tenant=tenant, now=now))
        return upload_path(name, file_name)

    async def begin(self, tenant: str, described: Described, *, multipart: bool) -> tuple[str, str]:
        """An upload that takes more requests: its id, which is the right to send to it, and the path of its file."""
        self._check_space(0)
        file_name, content_type = _clean(described)
        now = wall_clock()
        upload = Upload(
            id=secrets.token_hex(20),
            tenant=tenant,
            file=new_name(UPLOAD_EXTENSION),
            file_name=file_name,
            content_type=content_type,
            lifetime=self._lifetime(described),
            multipart=multipart,
            state="open",
            expires_at=now + self._policy.unfinished,
            acl=await self._access.kept(described.acl),
        )
        await self._store.write(rows.begin(upload, now=now, most=self._policy.max_unfinished))
        return upload.id, upload_path(upload.file, file_name)

    async def fill(self, id: str, body: Body) -> str:
        """Stores the whole file of an upload; gives its path.

        It takes one file. The same bytes once more are accepted (its client missed the answer), others are refused.
        """
        self._check_space(body.length)
        if (await self._find(id)).multipart:
            raise BadRequest("This upload is sent in parts; put the number of the part behind its URL.")
        with _disk_faults():
            incoming = self._blobs.incoming(self._checked(body), max_bytes=self._policy.max_bytes)
            # Locked once it is here: a sender that hangs must not keep out its own second try.
            async with incoming as path, self._lock(id):
                upload = await self._find(id)
                if upload.state == "complete":
                    await self._check_same(path, upload)
                else:
                    await self._finish(upload, path)
        return upload_path(upload.file, upload.file_name)

    async def put_part(self, id: str, number: int, body: Body, owned: Owned | None = None) -> Part:
        """Stores one part, from 1 to ``MAX_PARTS``; the last one of a number counts."""
        if not 1 <= number <= MAX_PARTS:
            raise BadRequest(f"The number of a part lies between 1 and {MAX_PARTS}.")
        self._check_space(body.length)
        upload = await self._find(id, owned)
        if not upload.multipart or upload.state != "open":
            raise BadRequest("This upload takes no parts.")
        with _disk_faults():
            written = await self._parts.write(id, self._checked(body), self._policy.max_part_bytes)
        part = Part(number=number, file=written.file, size=written.size, etag=written.md5)
        try:
            change = rows.put_part(id, part, now=wall_clock(), max_bytes=self._policy.max_bytes)
            unneeded = await self._store.write(change)
        except StillmotionError:
            await self._delete_unnamed(id, part.file)
            raise
        if unneeded:
            await self._parts.delete(id, unneeded)
        return part

    async def complete(self, id: str, listed: Mapping[int, str], owned: Owned | None = None) -> str:
        """Joins the parts to the file; gives its path. ``listed`` is what the client sent: MD5 by number.

        Asked again it answers the same.
        """
        async with self._lock(id):
            await self._find(id, owned)
            upload, parts = await self._store.write(rows.seal(id, listed, now=wall_clock()))
            if upload.state != "complete":
                with _disk_faults():
                    await self._join(upload, parts)
        return upload_path(upload.file, upload.file_name)

    async def file(self, path: str) -> tuple[Path, OwnedFile]:
        """File and description of an upload; ``path`` is that of its URL, unquoted, after ``UPLOADS_PATH``. Who may
        read it is for ``FileAccess`` to say."""
        found = split_upload_path(path)
        stored = await self._store.read(transitions.get_file(found[0])) if found else None
        if not found or stored is None or stored.file_name != found[1] or is_over(stored):
            raise NotFound(ABSENT)
        return self._blobs.path(stored.name), stored

    async def _join(self, upload: Upload, parts: list[Part]) -> None:
        try:
            # Joined before, but its row was not written.
            whole = self._blobs.path(upload.file)
        except NotFound:
            whole = await self._parts.join(upload.id, [(part.file, part.size) for part in parts])
        await self._finish(upload, whole)
        await self._parts.drop(upload.id)

    async def _finish(self, upload: Upload, path: Path) -> None:
        """Moves the whole file in and names it."""
        now, size = wall_clock(), _size(path)
        file = StoredFile(
            name=upload.file,
            content_type=upload.content_type,
            size=size,
            file_name=upload.file_name,
            expires_at=_end(upload.lifetime, now),
            acl=upload.acl,
        )
        if path.name != upload.file:
            # Left by an earlier try whose row could not be written: without the row nobody has read it.
            await self._blobs.delete(upload.file)
            await self._blobs.adopt_as(path, upload.file)
        # The parts are gone once they are joined, so what was made of them waits for the next try.
        await self._name(file, rows.finish(upload.id, file, now=now), keep=upload.multipart)

    async def _name(self, file: StoredFile, change: Transaction[None], *, keep: bool = False) -> None:
        """Writes the row of a file that is in place; deletes the file if that fails, unless it is to be kept."""
        try:
            await self._store.write(change)
        except NotFound:
            await self._blobs.delete(file.name)
            raise
        except Unavailable:
            # A commit that was answered by an error may have happened all the same.
            with suppress(Unavailable):  # the sweep at the next start looks again
                if not keep and await self._store.read(transitions.get_file(file.name)) is None:
                    await self._blobs.delete(file.name)
            raise
        log.info("file uploaded", file=file.name, size=file.size)

    async def _delete_unnamed(self, id: str, file: str) -> None:
        """Deletes a part that no row names: see ``_name``."""
        with suppress(Unavailable):
            if file not in {part.file for part in await self._store.read(rows.get_parts(id))}:
                await self._parts.delete(id, file)

    async def _check_same(self, incoming: Path, upload: Upload) -> None:
        stored = self._blobs.path(upload.file)
        if not await asyncio.to_thread(filecmp.cmp, incoming, stored, shallow=False):
            raise BadRequest("This upload URL has been used; ask for another one.")

    async def _find(self, id: str, owned: Owned | None = None) -> Upload:
        if not _ID.fullmatch(id):
            raise NotFound(GONE)
        upload = await self._store.read(rows.get(id, now=wall_clock()))
        if owned is not None and not _belongs(upload, owned):
            raise NotFound(GONE)
        return upload

    def _lock(self, id: str) -> asyncio.Lock:
        """One end at a time: a client that asks again because it waited too long gets the first one's answer."""
        return self._locks.setdefault(id, asyncio.Lock())

    def _lifetime(self, described: Described) -> float | None:
        lifetime = self._policy.lifetime if described.lifetime is None else described.lifetime
        return None if lifetime == float("inf") else lifetime

    async def _checked(self, body: Body) -> AsyncIterator[bytes]:
        """The body's bytes, as long as there is space: a length may be missing, or wrong, and others write too."""
        unchecked = 0
        async for chunk in body.chunks:
            unchecked += len(chunk)
            if unchecked > FREE_CHECK_BYTES:
                self._check_space(0)
                unchecked = 0
            yield chunk

    def _check_space(self, more: int) -> None:
        if self._blobs.free_bytes() - more < self._policy.min_free:
            raise Unavailable(OUT_OF_SPACE)


def _clean(described: Described) -> tuple[str, str]:
    content_type = clean_content_type(described.content_type)
    return clean_file_name(described.file_name, content_type), content_type


def _belongs(upload: Upload, owned: Owned) -> bool:
    return owned.tenant == upload.tenant and split_upload_path(owned.path) == (upload.file, upload.file_name)


def _size(path: Path) -> int:
    return path.stat().st_size


def _end(lifetime: float | None, now: float) -> float | None:
    return None if lifetime is None else now + lifetime


@contextmanager
def _disk_faults() -> Iterator[None]:
    """A full disk is no fault of the request's: it is refused like one that comes when the disk is full already."""
    try:
        yield
    except FileNotFoundError:
        # The only one who deletes under a writer's hands is the sweep of uploads whose time is over.
        raise NotFound(GONE) from None
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Unavailable(OUT_OF_SPACE) from error
