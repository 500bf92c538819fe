"""What a client says about a request beside its input: headers and query parameters of submit, run and stream."""

import math
import re

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from stillmotion.api.json import check_object, read_object
from stillmotion.api.storage_requests import PREFERENCE_HEADER, initial_acl, lifetime
from stillmotion.errors import BadRequest
from stillmotion.store.records import PRIORITIES, Options, Priority

START_HEADERS = ("x-fal-request-start-timeout", "x-fal-request-timeout")
"""The first one counts; fal renamed it, and its clients send the second."""
MIN_START_SECONDS = 0.1
MAX_QUEUE = 1_000_000
"""A longer queue is not counted to its end."""
PREVIEW_HEADER = "x-stillmotion-preview"
TRUE = frozenset({"1", "true", "yes", "on"})
NOT_INPUT = frozenset({"fal_webhook", "fal_max_queue_length", "fal_jwt_token", "priority", "preview"})
"""Query parameters that are about the request, also where its input comes as query parameters."""

KEY = re.compile(r"[\x20-\x7e]{1,255}")
TAG_KEY = re.compile(r"[a-z0-9._-]{1,64}")
MAX_TAGS, MAX_TAG_VALUE, MAX_TAGS_LENGTH = 10, 256, 1024


async def read_input(request: Request) -> dict[str, object]:
    """The input: the body, or with GET the query, whose numbers and booleans the schemas read from text.

    Raises MalformedBody; HTTPException for HEAD, which must not begin anything, and for what a foreign page had a
    browser get: a link or a picture of another site comes without ``Origin``, so nothing else has stopped it.
    """
    if request.method == "HEAD":
        raise HTTPException(405, headers={"allow": "GET, POST"})
    if request.method != "GET":
        return await read_object(request)
    if request.headers.get("sec-fetch-site") == "cross-site" and "origin" not in request.headers:
        raise HTTPException(403, "Requests from that origin are not allowed")
    found: dict[str, object] = {name: value for name, value in request.query_params.items() if name not in NOT_INPUT}
    check_object(found)
    return found


def options(request: HTTPConnection) -> Options:
    """Raises BadRequest for a start deadline, a priority or an ACL that cannot be understood; other faults are ignored.

    ``X-Fal-Runner-Hint`` is accepted without effect: an engine prefers requests by the weights that it has in memory.
    """
    headers = request.headers
    kept = lifetime(request, (PREFERENCE_HEADER,))
    return Options(
        priority=_priority(request),
        start_within=_start_within(request),
        retry=headers.get("x-fal-no-retry", "").lower() not in ("1", "true", "yes"),
        private=headers.get("x-fal-store-io") == "0",
        file_seconds=kept if kept is not None and math.isfinite(kept) else None,
        tags=_tags(headers.get("x-fal-tags", "")),
        # Beside the input and not in it: the schemas are fal's, and say nothing about how a request is watched.
        preview=(headers.get(PREVIEW_HEADER) or request.query_params.get("preview", "")).lower() in TRUE,
        acl=acl.text() if (acl := initial_acl(request, (PREFERENCE_HEADER,))) else None,
    )


def idempotency_key(request: Request) -> str | None:
    """By what the client will call this submit if it has to repeat it. Raises BadRequest."""
    found = request.headers.getlist("idempotency-key")
    if not found:
        return None
    if len(found) > 1 or not KEY.fullmatch(found[0]):
        raise BadRequest("Idempotency-Key must be one header of 1 to 255 printable ASCII characters.")
    return found[0]


def max_queue(request: Request) -> int | None:
    """How many may wait for the endpoint already. Raises BadRequest."""
    text = request.query_params.get("fal_max_queue_length")
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal():
        raise BadRequest("fal_max_queue_length must be a whole number of 0 or more.")
    return min(int(text[:20]), MAX_QUEUE)


def _priority(request: HTTPConnection) -> Priority:
    text = request.headers.get("x-fal-queue-priority") or request.query_params.get("priority") or PRIORITIES[0]
    for priority in PRIORITIES:
        if text.lower() == priority:
            return priority
    raise BadRequest(f"X-Fal-Queue-Priority must be {' or '.join(PRIORITIES)}.")


def _start_within(request: HTTPConnection) -> float | None:
    for name in START_HEADERS:
        if (text := request.headers.get(name)) is not None:
            try:
                seconds = float(text)
            except ValueError:
                seconds = math.nan
            if not (math.isfinite(seconds) and seconds > MIN_START_SECONDS):
                raise BadRequest(f"{name} must be a number of seconds above {MIN_START_SECONDS}.")
            return seconds
    return None


def _tags(header: str) -> dict[str, str]:
    """``k=v,k2=v2``; what exceeds fal's limits is dropped, never an error."""
    tags: dict[str, str] = {}
    for item in header[:MAX_TAGS_LENGTH].split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        fits = equals and TAG_KEY.fullmatch(key) and len(value) <= MAX_TAG_VALUE and value.isprintable()
        if fits and len(tags) < MAX_TAGS:
            tags[key] = value
    return tags
