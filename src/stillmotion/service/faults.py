"""Errors as they are stored with a request: our exceptions become plain data."""

from collections.abc import Mapping
from typing import Any

from stillmotion.errors import ContentPolicyViolation, Detail, InputError, StillmotionError
from stillmotion.job import Failed
from stillmotion.store.records import Error

ECHO_CHARS = 256
"""Faulty input is echoed to the caller up to this length: enough to recognise it, not a second copy of an upload."""


def stored(error: StillmotionError) -> Error:
    """The stored form of an error of ours."""
    details = tuple(_detail(detail) for detail in error.details) if isinstance(error, InputError) else ()
    return Error(kind=error.kind, message=error.message, details=details)


def from_engine(failed: Failed, body: Mapping[str, Any] | None = None) -> Error:
    """The stored form of what an engine told; ``body`` is the request's, for the value of a field at fault."""
    if failed.field is None:
        return Error(kind=failed.kind, message=failed.message)
    type = failed.kind if failed.kind == ContentPolicyViolation.kind else InputError.type
    loc = place(failed.field)
    detail = Detail(loc=("body", *loc), msg=failed.message, type=type, input=_value(body, loc))
    return Error(kind=failed.kind, message=failed.message, details=(_detail(detail),))


def place(name: str) -> tuple[str | int, ...]:
    """Where in the input the field, or the LoRA, called ``name`` is: the path of the first entry for ``loras.0``."""
    field, _, index = name.partition(".")
    return (field, int(index), "path") if index else (field,)


def _value(body: Any, loc: tuple[str | int, ...]) -> Any:
    """What ``body`` has there, if anything."""
    try:
        for step in loc:
            body = body[step]
    except (LookupError, TypeError):
        return None
    return body


def _detail(detail: Detail) -> dict[str, Any]:
    found: dict[str, Any] = {"loc": list(detail.loc), "msg": detail.msg, "type": detail.type}
    if detail.ctx:
        found["ctx"] = dict(detail.ctx)
    if detail.input is not None:
        found["input"] = _echo(detail.input)
    return found


def _echo(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return value if len(value) <= ECHO_CHARS else value[:ECHO_CHARS] + "…"
    if isinstance(value, dict) and depth < 3:
        return {str(key)[:ECHO_CHARS]: _echo(item, depth + 1) for key, item in list(value.items())[:32]}
    if isinstance(value, list) and depth < 3:
        return [_echo(item, depth + 1) for item in value[:32]]
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)[:ECHO_CHARS]
