"""``/v1/queue/requests``: what everybody waits for, what is worked at and what failed. Ours, for admin keys.

Who asked and how far it is, not what for: prompts, pictures and results are their owner's.
"""

from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api import platform_parameters as parameters
from stillmotion.api import wire
from stillmotion.api.callers import administrator
from stillmotion.api.faults import error_type, fault_of
from stillmotion.api.json import json_response
from stillmotion.api.times import iso
from stillmotion.errors import AlreadyCompleted, BadRequest
from stillmotion.job import Progress
from stillmotion.service.operations import Underway
from stillmotion.service.service import Service
from stillmotion.store.records import PRIORITIES, Request

PAGE, MAX_PAGE = 20, 100


def routes(service: Service) -> list[Route]:
    board = _Board(service)
    return [
        Route("/queue/requests", board.requests, methods=["GET"]),
        Route("/queue/requests/{id}/cancel", board.cancel, methods=["PUT"]),
    ]


class _Board:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def requests(self, request: HttpRequest) -> Response:
        await administrator(self._service, request)
        found = await self._service.operations.board(parameters.limit(request.query_params, PAGE, MAX_PAGE))
        return json_response(
            {
                "running": [_underway(each) for each in found.running],
                "waiting": [_described(each) for each in found.waiting],
                "failed": [_described(each) for each in found.failed],
            }
        )

    async def cancel(self, request: HttpRequest) -> Response:
        await administrator(self._service, request)
        try:
            await self._service.cancel_anyones(request.path_params["id"])
        except AlreadyCompleted:
            raise BadRequest("the request has ended already") from None
        return json_response({"status": "CANCELLATION_REQUESTED"}, 202)


def _underway(each: Underway) -> dict[str, Any]:
    return {**_described(each.request), "phase": each.phase, "progress": _progress(each.progress)}


def _described(request: Request) -> dict[str, Any]:
    return {
        "request_id": request.id,
        "endpoint_id": request.endpoint,
        "key": request.tenant,
        "state": request.state,
        "priority": PRIORITIES[request.priority],
        "created_at": iso(request.created_at),
        "started_at": iso(request.started_at),
        "ended_at": iso(request.ended_at),
        "engine": request.engine,
        "attempt": request.attempt,
        "cancelling": request.state == "running" and request.cancel_requested,
        "error": {
            "status_code": fault_of(request.error.kind).status,
            "error_type": error_type(request.error),
            "message": request.error.message,
        }
        if request.error
        else None,
    }


def _progress(step: Progress | None) -> dict[str, Any] | None:
    if step is None:
        return None
    return {
        "stage": step.stage + 1,
        "stages": step.stages,
        "step": step.step,
        "total": step.total,
        "percent": round(100 * wire.fraction(step), 1),
    }
