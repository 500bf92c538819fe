"""The answer that holds what came of a request: its output, or its error with the status of that error."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api import wire
from stillmotion.api.faults import error_response
from stillmotion.api.inline import inline_response
from stillmotion.api.json import json_response
from stillmotion.api.origins import origins
from stillmotion.errors import NotCompleted
from stillmotion.service.service import Receipt, Service
from stillmotion.service.view import View
from stillmotion.store.records import Error


def id_header(id: str) -> dict[str, str]:
    return {"x-fal-request-id": id}


def receipt_headers(receipt: Receipt) -> dict[str, str]:
    return {**id_header(receipt.id), **({"idempotent-replayed": "true"} if receipt.repeated else {})}


def not_found() -> Response:
    return json_response({"status": "NOT_FOUND"}, 404)


def error_of(view: View) -> Error:
    """Why a request that has ended has no output."""
    return view.request.error or Error(kind="internal_error", message="Internal server error")


async def result_response(service: Service, request: Request, view: View, *, again: bool = False) -> Response:
    """``again``: this may be asked for once more, so an output for one reader stays as long as one that nobody read."""
    found = view.request
    told = {
        "x-stillmotion-model": found.model,
        "x-stillmotion-computed": found.computed,
        "x-stillmotion-safety": found.safety,
        "x-fal-served-from": found.engine,
    }
    headers = {**id_header(found.id), **{name: value for name, value in told.items() if value}}
    if not view.completed:
        return error_response(Error(kind=NotCompleted.kind, message=NotCompleted().message), headers)
    if view.output is None:
        return error_response(error_of(view), headers)
    headers["x-fal-billable-units"] = view.billable_units
    if view.inline is None:
        return json_response(wire.output(origins(request).files, view.output), headers=headers)
    try:
        received = _stays if again else partial(service.received, found.id)
        return await inline_response(view.output, view.inline, headers, received)
    except FileNotFoundError:
        return not_found()


async def _stays() -> None:
    return
