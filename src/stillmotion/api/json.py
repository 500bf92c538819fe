"""JSON in and out of HTTP: strict about what comes in, plain about what goes out."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from stillmotion.errors import MalformedBody

MAX_DEPTH = 32
LARGE = 1 << 20
"""Bodies above this many bytes (a data URI) are parsed in a thread: 50 MB take 90 ms."""


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, dict(headers or {}), media_type="application/json")


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of the body; an empty body is ``{}``, as the JavaScript client sends without input.

    Raises MalformedBody for anything that is not strict JSON (NaN, invalid UTF-8, lone surrogates), for a NUL
    character (PostgreSQL cannot store one), for nesting beyond ``MAX_DEPTH`` and for anything but an object.
    """
    body = await request.body()
    if not body.strip():
        return {}
    return await asyncio.to_thread(parse_object, body) if len(body) > LARGE else parse_object(body)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that ``body`` is. Raises MalformedBody, as ``read_object``."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"The request body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody("The request body must be a JSON object")
    check_object(value)
    return value


def check_object(value: dict[str, Any]) -> None:
    """Raises MalformedBody for what no database or parser behind this one should have to meet."""
    _check(value, 1)


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise MalformedBody(f"The request body is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, str):
        if "\0" in value:
            raise MalformedBody("The request body holds a NUL character")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
