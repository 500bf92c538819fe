"""What clients say about their files, read from headers and bodies."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from starlette.requests import HTTPConnection, Request

from stillmotion.errors import BadRequest
from stillmotion.service.acl import Acl
from stillmotion.service.uploads import Body

PREFERENCE_HEADER = "x-fal-object-lifecycle-preference"
LIFECYCLE_HEADERS = ("x-fal-object-lifecycle", PREFERENCE_HEADER)
"""The first one that says something counts; the Python client sends both."""


def read_body(request: Request) -> Body:
    declared = request.headers.get("content-length", "")
    return Body(chunks=request.stream(), length=int(declared) if declared.isdecimal() else 0)


def file_name(header: str | None) -> str | None:
    """Header values are bytes: those of a name are UTF-8, if they can be, and Latin-1 otherwise."""
    if header is None:
        return None
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def lifetime(request: HTTPConnection, headers: tuple[str, ...] = LIFECYCLE_HEADERS) -> float | None:
    """Seconds that a file is to be kept: infinite for null or 0, as with fal; None when the sender says nothing valid.

    What cannot be read is ignored, never an error: the header is a preference.
    """
    for preference in _preferences(request, headers):
        if "expiration_duration_seconds" in preference:
            seconds = preference["expiration_duration_seconds"]
            if seconds is None:
                return math.inf
            if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0:
                return float(seconds) or math.inf
    return None


def initial_acl(request: HTTPConnection, headers: tuple[str, ...] = LIFECYCLE_HEADERS) -> Acl | None:
    """Who may read a file from its beginning on; None when the sender says nothing of it. Raises BadRequest."""
    for preference in _preferences(request, headers):
        if preference.get("initial_acl") is not None:
            return Acl.read(preference["initial_acl"])
    return None


def _preferences(request: HTTPConnection, headers: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for name in headers:
        if (text := request.headers.get(name)) is None:
            continue
        try:
            preference = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if isinstance(preference, dict):
            yield preference


def text_field(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} must be a string.")
    return value


def listed_parts(body: Mapping[str, Any]) -> dict[int, str]:
    """ETags by number, in whatever order they came; ETags may be quoted, or weakened by a proxy on their way."""
    parts = body.get("parts")
    if not isinstance(parts, list):
        raise BadRequest('The body must be {"parts": [{"partNumber": 1, "etag": "..."}, ...]}.')
    listed: dict[int, str] = {}
    for part in parts:
        number = part.get("partNumber") if isinstance(part, dict) else None
        etag = part.get("etag") if isinstance(part, dict) else None
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(etag, str):
            raise BadRequest("Every part needs its partNumber and the etag that its upload answered.")
        if number in listed:
            raise BadRequest(f"Part {number} is listed twice.")
        listed[number] = etag.strip().removeprefix("W/").strip('"').lower()
    return listed
