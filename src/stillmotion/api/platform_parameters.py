"""Parameters of the platform API: read strictly, refused by name. Whatever a client sends, the answer is no 5xx."""

import binascii
import zoneinfo
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import orjson
from starlette.datastructures import QueryParams

from stillmotion.errors import BadRequest

MAX_IDS = 50
FIRST, LAST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2970, 1, 1, tzinfo=UTC)
"""Instants that any time zone's calendar can hold, with room for a bucket on either side."""
DEFAULT_SPAN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to before ``end``."""

    start: datetime
    end: datetime


def many(query: QueryParams, name: str) -> tuple[str, ...]:
    """The values of a parameter that may be repeated and may hold commas, each once. At most ``MAX_IDS``."""
    parts = [part.strip() for value in query.getlist(name) for part in value.split(",")]
    found = tuple(dict.fromkeys(part for part in parts if part))
    if len(found) > MAX_IDS:
        raise BadRequest(f"{name}: at most {MAX_IDS} values are allowed")
    return found


def choice(query: QueryParams, name: str, options: Sequence[str], default: str | None = None) -> str | None:
    value = query.get(name) or default
    if value is not None and value not in options:
        raise BadRequest(f"{name}: should be one of {', '.join(options)}")
    return value


def expansions(query: QueryParams, options: Collection[str]) -> frozenset[str]:
    found = frozenset(many(query, "expand"))
    if found - set(options):
        raise BadRequest(f"expand: should be of {', '.join(options)}")
    return found


def limit(query: QueryParams, default: int, most: int) -> int:
    value = query.get("limit")
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and 1 <= int(value) <= most):
        raise BadRequest(f"limit: should be a whole number from 1 to {most}")
    return int(value)


def flag(query: QueryParams, name: str, default: bool) -> bool:
    value = choice(query, name, ("true", "false"), "true" if default else "false")
    return value == "true"


def cursor_for(key: Iterable[Any]) -> str:
    """A place in a listing as opaque text."""
    return urlsafe_b64encode(orjson.dumps(list(key))).decode().rstrip("=")


def cursor(query: QueryParams, *kinds: type) -> list[Any] | None:
    """The place that ``cursor_for`` wrote: one value of each of ``kinds``."""
    text = query.get("cursor")
    if not text:
        return None
    try:
        key = orjson.loads(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        key = None
    fits = isinstance(key, list) and len(key) == len(kinds)
    # int is no float here: a number of rows as large as a JSON number can be would overflow the database's.
    if not (fits and all(type(value) is kind and _storable(value) for value, kind in zip(key, kinds, strict=True))):
        raise BadRequest("cursor: is not one that this server gave")
    assert isinstance(key, list)
    return key


def tristate(query: QueryParams, name: str) -> bool | None:
    """None where nothing is said."""
    return flag(query, name, False) if query.get(name) else None


def instant(query: QueryParams, name: str) -> datetime | None:
    """A time, one of UTC where it has no offset; None where there is none."""
    return _instant(query, name, UTC)


def zone(query: QueryParams) -> tzinfo:
    name = query.get("timezone") or "UTC"
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise BadRequest("timezone: is not the name of a time zone, such as Europe/Berlin") from None


def span(query: QueryParams, zone: tzinfo = UTC) -> Span:
    """``start`` to ``end``, by default the last 24 hours; a time without an offset is one of ``zone``."""
    end = _instant(query, "end", zone) or datetime.now(UTC)
    start = _instant(query, "start", zone) or max(end - DEFAULT_SPAN, FIRST)
    if start >= end:
        raise BadRequest("start: should be before end")
    return Span(start, end)


def _instant(query: QueryParams, name: str, zone: tzinfo) -> datetime | None:
    value = query.get(name)
    if not value:
        return None
    fault = BadRequest(f"{name}: should be a time as ISO 8601 writes it, from {FIRST.year} to {LAST.year - 1}")
    try:
        found = datetime.fromisoformat(value)
        found = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise fault from None
    if not FIRST <= found < LAST:
        raise fault
    return found


def _storable(value: Any) -> bool:
    return not isinstance(value, int) or abs(value) < 1 << 63
