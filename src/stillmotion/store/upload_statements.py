"""The SQL of uploads, like that of the requests in ``statements``."""

from sqlalchemy import Executable, bindparam, delete, func, insert, or_, select, update

from stillmotion.store import tables

_f, _u, _p = tables.files.c, tables.uploads.c, tables.upload_parts.c
_other = tables.files.alias().c
_THIS = _u.id == bindparam("upload_id")
_ITS_PARTS = _p.upload_id == bindparam("upload_id")

COUNT_UNFINISHED = (
    select(func.count().label("count"))
    .select_from(tables.uploads)
    .where(_u.tenant == bindparam("tenant"), _u.state != "complete", _u.expires_at > bindparam("now"))
)
INSERT_UPLOAD = insert(tables.uploads).values({column.name: bindparam(column.name) for column in _u})
GET_UPLOAD = select(*_u).where(_THIS)
HOLD_UPLOAD = GET_UPLOAD.with_for_update()
SET_UPLOAD_STATE = update(tables.uploads).where(_THIS).values(state=bindparam("new_state"))
DUE_UPLOADS = select(*_u).where(_u.expires_at <= bindparam("now")).order_by(_u.expires_at).limit(bindparam("most"))
DELETE_UPLOAD = delete(tables.uploads).where(_THIS)

INSERT_PART = insert(tables.upload_parts).values(
    {column.name: bindparam(column.name, type_=column.type) for column in _p}
)
DELETE_PART = delete(tables.upload_parts).where(_ITS_PARTS, _p.number == bindparam("number")).returning(_p.file)
DELETE_PARTS = delete(tables.upload_parts).where(_ITS_PARTS)
SUM_PARTS = select(func.coalesce(func.sum(_p.size), 0).label("size")).where(_ITS_PARTS)
GET_PARTS = select(_p.number, _p.file, _p.size, _p.etag).where(_ITS_PARTS).order_by(_p.number)
UNFINISHED = (
    select(_u.id, _p.file)
    .join(tables.upload_parts, _p.upload_id == _u.id, isouter=True)
    .where(_u.multipart, _u.state != "complete")
)

INSERT_UPLOADED = insert(tables.files).values(
    {column.name: bindparam(column.name) for column in _f if column.name != "request_id"}
)
EXPIRED_FILES = (
    select(_f.name).where(_f.expires_at <= bindparam("now")).order_by(_f.expires_at).limit(bindparam("most"))
)
SET_ACL = (
    update(tables.files)
    .where(
        _f.tenant == bindparam("owner"),
        # With what else was made of the same request's output: a picture of it, and copies.
        or_(
            _f.name == bindparam("file"),
            _f.request_id == select(_other.request_id).where(_other.name == bindparam("file")).scalar_subquery(),
        ),
    )
    .values(acl=bindparam("new_acl"))
    .returning(_f.name)
)
DELETE_FILE = delete(tables.files).where(_f.name == bindparam("name"))

UPLOAD_STATEMENTS: tuple[Executable, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Executable)
)
"""Every statement above, for drivers that compile them once."""
