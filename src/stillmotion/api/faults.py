"""Errors on the wire: every ``kind`` of errors.py, with its HTTP status and one of fal's body shapes.

Two shapes only. A model error is ``{"detail": [{"loc", "msg", "type", "url", "ctx"?, "input"?}]}``; a request error is
``{"detail": text, "message": text, "error_type": code}`` with the code in ``X-Fal-Error-Type`` too (``message`` is what
the JavaScript client shows). None of these is 408, 409 or 429, because the Python client repeats a POST on those, but
for a queue that is longer than the caller itself set as its limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from stillmotion.api.json import json_response
from stillmotion.store.records import Error

ERROR_URL = "https://docs.fal.ai/errors/#"


@dataclass(frozen=True, slots=True)
class Fault:
    status: int
    error_type: str
    retryable: bool = False
    listed: bool = False
    """True for a model error, whose detail is a list."""
    headers: Mapping[str, str] = field(default_factory=dict)


FAULTS: Mapping[str, Fault] = {
    "invalid_input": Fault(422, "invalid_input", listed=True),
    "content_policy_violation": Fault(422, "content_policy_violation", listed=True),
    "json_invalid": Fault(422, "json_invalid", listed=True),
    "generation_timeout": Fault(504, "generation_timeout", listed=True),
    "bad_request": Fault(400, "bad_request"),
    "idempotency_key_reused": Fault(422, "idempotency_key_reused"),
    "unauthorized": Fault(401, "unauthorized"),
    "forbidden": Fault(403, "forbidden"),
    "not_completed": Fault(400, "bad_request"),
    # Both clients know by the header that trying again is of no use.
    "request_timeout": Fault(504, "request_timeout", headers={"x-fal-request-timeout-type": "user"}),
    "queue_full": Fault(429, "queue_full", retryable=True, headers={"retry-after": "1"}),
    "engine_error": Fault(500, "runner_server_error"),
    "out_of_memory": Fault(500, "runner_server_error"),
    "bundle_error": Fault(500, "runner_server_error"),
    "engine_lost": Fault(503, "runner_disconnected", retryable=True),
    "unavailable": Fault(503, "internal_error", retryable=True),
    "client_cancelled": Fault(499, "client_cancelled"),
    "client_disconnected": Fault(499, "client_disconnected"),
    "internal_error": Fault(500, "internal_error"),
    "configuration_error": Fault(500, "internal_error"),
}


def fault_of(kind: str) -> Fault:
    return FAULTS.get(kind, FAULTS["internal_error"])


def error_type(error: Error) -> str:
    """The code that a status tells: for faulty input the type of its first detail."""
    return str(error.details[0]["type"]) if error.details else fault_of(error.kind).error_type


def error_body(error: Error) -> dict[str, Any]:
    fault = fault_of(error.kind)
    if not fault.listed:
        return {"detail": error.message, "message": error.message, "error_type": fault.error_type}
    details = error.details or ({"loc": ["body"], "msg": error.message, "type": fault.error_type},)
    return {"detail": [_with_url(detail) for detail in details]}


def error_response(error: Error, headers: Mapping[str, str] | None = None) -> Response:
    fault = fault_of(error.kind)
    sent = {
        "x-fal-retryable": str(fault.retryable).lower(),
        "x-fal-needs-retry": str(int(fault.retryable)),
        "x-fal-billable-units": "0",
        **({} if fault.listed else {"x-fal-error-type": fault.error_type}),
        **fault.headers,
        **(headers or {}),
    }
    return json_response(error_body(error), fault.status, sent)


def _with_url(detail: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: detail[key] for key in ("loc", "msg", "type")}
    return {**shown, "url": ERROR_URL + detail["type"], **{k: detail[k] for k in ("ctx", "input") if k in detail}}
