"""Messages of a realtime connection: msgpack in binary frames, JSON in text frames, both ways alike.

What is no output is always text: the Python client takes whatever comes in a binary frame for one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack
import orjson

from stillmotion.api.faults import error_body, error_type, fault_of
from stillmotion.api.json import check_object, parse_object
from stillmotion.errors import MalformedBody
from stillmotion.store.records import Error

MAX_CONTAINERS = 10_000
"""Lists and maps in one message. A msgpack byte can stand for an empty list, which takes 56 in memory."""
MAX_ID = 128

Frame = str | bytes


@dataclass(frozen=True, slots=True)
class Input:
    """One message of a client's."""

    arguments: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    """What the client calls it, if it does; its answer is called the same."""


def read_input(frame: Frame) -> Input:
    """Raises MalformedBody for what is no object of the kinds of values that JSON has."""
    arguments = parse_object(frame.encode()) if isinstance(frame, str) else _unpacked(frame)
    id = arguments.pop("request_id", None)
    if id is not None and not (isinstance(id, str) and len(id) <= MAX_ID):
        raise MalformedBody(f"request_id must be a string of at most {MAX_ID} characters")
    return Input(arguments, id)


def output_frame(output: Mapping[str, Any], id: str, *, binary: bool) -> Frame:
    message = {**output, "request_id": id}
    return bytes(msgpack.packb(message)) if binary else orjson.dumps(message).decode()


def error_frame(error: Error, id: str | None = None) -> str:
    """fal's form of an error, and beside it the status and the body that a request over HTTP is answered with."""
    return told(
        "x-fal-error",
        error=error_type(error),
        reason=error.message,
        status_code=fault_of(error.kind).status,
        detail=error_body(error)["detail"],
        request_id=id,
    )


def told(type: str, **fields: Any) -> str:
    shown = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps({"type": type, **shown}).decode()


UNAUTHORIZED = orjson.dumps({"status": "error", "error": "Unauthorized"}).decode()
"""Has the JavaScript client ask for another token."""


def _unpacked(frame: bytes) -> dict[str, Any]:
    counted = 0

    def count(container: Any) -> Any:
        nonlocal counted
        counted += 1
        if counted > MAX_CONTAINERS:
            raise MalformedBody("The message holds too many lists and maps")
        return container

    try:
        value = msgpack.unpackb(frame, list_hook=count, object_hook=count, ext_hook=_no_extension)
    except MalformedBody:
        raise
    # msgpack raises ValueErrors, and its own kinds of Exception for data that ends early or is nested deeply.
    except Exception as error:
        raise MalformedBody(f"The message is not valid msgpack: {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody("The message must be a map")
    check_object(value)
    _check_kinds(value)
    return value


def _no_extension(code: int, data: bytes) -> Any:
    raise MalformedBody("The message holds an extension type")


def _check_kinds(value: Any) -> None:
    """JSON has no bytes, no times and no numbers that are not finite; nesting was checked before."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise MalformedBody("The keys of the message must be strings")
            _check_kinds(item)
    elif isinstance(value, list):
        for item in value:
            _check_kinds(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise MalformedBody("The message holds a number that is not finite")
    elif not isinstance(value, (str, int, float, bool, type(None))):
        raise MalformedBody("The message holds bytes or a time; send files as URLs or data URIs")
