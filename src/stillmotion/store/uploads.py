"""Uploads as transactions, like the state machine of the requests.

A file that came whole is one row in ``files``. One that takes more than one request begins as a row in ``uploads``:

    open ──(parts)──► sealed ──────────► complete
      └───────────── whole file ────────────┘

Sealing fixes the list of parts before they are joined, so that joining can be taken up again after a crash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from stillmotion.errors import BadRequest, FileTooLargeError, NotFound, Unavailable
from stillmotion.store import upload_statements as sql
from stillmotion.store.records import Part, StoredFile, Upload
from stillmotion.store.transitions import Row, Transaction

SHOWN = 8
"""Part numbers that a refusal names."""


def add_file(file: StoredFile, *, tenant: str, now: float) -> Transaction[None]:
    """Names a file that came whole; it is on disk already."""
    yield sql.INSERT_UPLOADED, {**asdict(file), "tenant": tenant, "created_at": now}


def begin(upload: Upload, *, now: float, most: int) -> Transaction[None]:
    """Stores a new upload. Raises Unavailable when its tenant has ``most`` unfinished ones."""
    (row,) = yield sql.COUNT_UNFINISHED, {"tenant": upload.tenant, "now": now}
    if row["count"] >= most:
        raise Unavailable(f"There are {most} unfinished uploads; complete some of them or wait until they expire.")
    yield sql.INSERT_UPLOAD, asdict(upload)


def get(id: str, *, now: float) -> Transaction[Upload]:
    """Raises NotFound for an upload that does not exist or has expired."""
    return _upload((yield sql.GET_UPLOAD, {"upload_id": id}), now)


def put_part(id: str, part: Part, *, now: float, max_bytes: int) -> Transaction[str | None]:
    """Adds a part, or replaces the one of its number; returns the file that is not needed any more.

    Raises NotFound, BadRequest when the upload takes no parts (any more), FileTooLargeError when all its parts
    together pass ``max_bytes``.
    """
    upload = _upload((yield sql.HOLD_UPLOAD, {"upload_id": id}), now)
    if not upload.multipart or upload.state != "open":
        raise BadRequest("This upload takes no more parts." if upload.multipart else "This upload has no parts.")
    replaced = yield sql.DELETE_PART, {"upload_id": id, "number": part.number}
    (others,) = yield sql.SUM_PARTS, {"upload_id": id}
    if others["size"] + part.size > max_bytes:
        raise FileTooLargeError(f"The parts are larger than {max_bytes} bytes together.", max_size=max_bytes)
    yield sql.INSERT_PART, {"upload_id": id, **asdict(part)}
    return replaced[0]["file"] if replaced else None


def get_parts(id: str) -> Transaction[list[Part]]:
    """In the order of their numbers."""
    return [Part(**row) for row in (yield sql.GET_PARTS, {"upload_id": id})]


def seal(id: str, listed: Mapping[int, str], *, now: float) -> Transaction[tuple[Upload, list[Part]]]:
    """Takes no more parts; returns those there are, none when the upload is complete already.

    ``listed`` is what the client says it sent, ETags by number, and must be exactly what is here. Raises NotFound,
    and BadRequest when it is not or when the upload has no parts.
    """
    upload = _upload((yield sql.HOLD_UPLOAD, {"upload_id": id}), now)
    if not upload.multipart:
        raise BadRequest("This upload has no parts; it is complete with its one PUT.")
    if upload.state == "complete":
        return upload, []
    parts = [Part(**row) for row in (yield sql.GET_PARTS, {"upload_id": id})]
    _compare(listed, parts)
    yield sql.SET_UPLOAD_STATE, {"upload_id": id, "new_state": "sealed"}
    return upload, parts


def finish(id: str, file: StoredFile, *, now: float) -> Transaction[None]:
    """The upload is complete: ``file`` is on disk. Raises NotFound when the upload expired meanwhile."""
    upload = _upload((yield sql.HOLD_UPLOAD, {"upload_id": id}), now)
    yield sql.SET_UPLOAD_STATE, {"upload_id": id, "new_state": "complete"}
    yield sql.DELETE_PARTS, {"upload_id": id}
    yield sql.INSERT_UPLOADED, {**asdict(file), "tenant": upload.tenant, "created_at": now}


def unfinished() -> Transaction[dict[str, set[str]]]:
    """The files of parts that are still needed, by the id of their upload."""
    found: dict[str, set[str]] = {}
    for row in (yield sql.UNFINISHED, {}):
        files = found.setdefault(row["id"], set())
        if row["file"] is not None:
            files.add(row["file"])
    return found


def due(*, now: float, most: int) -> Transaction[list[Upload]]:
    """Uploads whose time is over, complete ones among them."""
    return [_record(row) for row in (yield sql.DUE_UPLOADS, {"now": now, "most": most})]


def drop(id: str) -> Transaction[None]:
    """Forgets an upload and its parts; the file of a complete one stays."""
    yield sql.DELETE_UPLOAD, {"upload_id": id}


def expired_files(*, now: float, most: int) -> Transaction[list[str]]:
    return [row["name"] for row in (yield sql.EXPIRED_FILES, {"now": now, "most": most})]


def set_acl(name: str, *, tenant: str, acl: str) -> Transaction[bool]:
    """Says who may read a file of the tenant's; of an output, also its picture and copies. False: the tenant has no
    such file."""
    return bool((yield sql.SET_ACL, {"file": name, "owner": tenant, "new_acl": acl}))


def delete_file(name: str) -> Transaction[None]:
    yield sql.DELETE_FILE, {"name": name}


def _upload(rows: Sequence[Row], now: float) -> Upload:
    if not rows or rows[0]["expires_at"] <= now:
        raise NotFound("There is no such upload, or it has expired.")
    return _record(rows[0])


def _record(row: Row) -> Upload:
    return Upload(**{**row, "multipart": bool(row["multipart"])})


def _compare(listed: Mapping[int, str], parts: list[Part]) -> None:
    """Clients number parts from 1 without gaps and list them all; anything else would make another file than theirs."""
    here = {part.number: part.etag for part in parts}
    gaps = set(range(1, max(here.keys() | listed.keys(), default=0) + 1)) - here.keys()
    faults = {
        "were not uploaded": gaps | (listed.keys() - here.keys()),
        "are not in the list": here.keys() - listed.keys(),
        "have another ETag than their upload answered": {
            number for number, etag in listed.items() if here.get(number, etag) != etag
        },
    }
    told = [f"parts {_shown(numbers)} {what}" for what, numbers in faults.items() if numbers]
    if told or not parts:
        raise BadRequest(f"The upload cannot be completed: {', '.join(told) or 'it has no parts'}.")


def _shown(numbers: set[int]) -> str:
    first = sorted(numbers)[:SHOWN]
    return ", ".join(map(str, first)) + (" and others" if len(numbers) > SHOWN else "")
