"""``/v1/queue``, ``/v1/usage`` and ``/v1/disk``: what whoever runs the server looks at. Ours, for admin keys."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api import platform_parameters as parameters
from stillmotion.api.callers import administrator
from stillmotion.api.json import json_response
from stillmotion.errors import BadRequest
from stillmotion.service.ledger import CURRENCY
from stillmotion.service.operations import Disk, Line, disk, kept
from stillmotion.service.service import Service
from stillmotion.service.usage import Total

DEFAULT_DAYS, MAX_DAYS = timedelta(days=30), timedelta(days=366)


def routes(service: Service) -> list[Route]:
    board = _Board(service)
    return [
        Route("/queue", board.queue, methods=["GET"]),
        Route("/usage", board.usage, methods=["GET"]),
        Route("/disk", board.disk, methods=["GET"]),
    ]


class _Board:
    def __init__(self, service: Service) -> None:
        self._service, self._operations = service, service.operations

    async def queue(self, request: Request) -> Response:
        await administrator(self._service, request)
        depths = await self._operations.depths()
        return json_response(
            {
                "waiting": sum(sum(depth.waiting.values()) for depth in depths),
                "running": sum(depth.running for depth in depths),
                "endpoints": [
                    {
                        "endpoint_id": depth.endpoint,
                        "waiting": dict(depth.waiting),
                        "running": depth.running,
                        "oldest_waiting_seconds": None
                        if depth.oldest_seconds is None
                        else round(depth.oldest_seconds, 3),
                    }
                    for depth in depths
                ],
            }
        )

    async def usage(self, request: Request) -> Response:
        await administrator(self._service, request)
        zone = parameters.zone(request.query_params)
        end = parameters.instant(request.query_params, "end") or datetime.now(UTC)
        start = parameters.instant(request.query_params, "start") or max(end - DEFAULT_DAYS, parameters.FIRST)
        if not start < end <= start + MAX_DAYS:
            raise BadRequest(f"start: should be before end, and at most {MAX_DAYS.days} days")
        days: dict[datetime, list[dict[str, Any]]] = {}
        for line, total in (await self._operations.usage(start, end, zone)).items():
            days.setdefault(line[0], []).append(_used(line, total))
        return json_response(
            {"days": [{"day": day.date().isoformat(), "results": results} for day, results in days.items()]}
        )

    async def disk(self, request: Request) -> Response:
        await administrator(self._service, request)
        about = self._service.about
        told = {"data": _disk(disk(about.data)), "models": _disk(disk(about.models))}
        data = about.data
        stored = await self._operations.files()
        # What is no request's own: read from the folders, which hold few files.
        stored["loras"] = await asyncio.to_thread(kept, data / "loras")
        stored["database"] = await asyncio.to_thread(kept, *data.glob("stillmotion.db*"))
        return json_response(
            {
                **told,
                "reserve_bytes": about.min_free,
                "kinds": [
                    {"kind": kind, "files": each.files, "size_bytes": each.size} for kind, each in stored.items()
                ],
            }
        )


def _used(line: Line, total: Total) -> dict[str, Any]:
    _, key, endpoint, unit = line
    return {
        "key": key,
        "endpoint_id": endpoint,
        "request_count": total.requests,
        "unit": unit,
        "quantity": float(total.quantity),
        "cost": float(total.cost),
        "currency": CURRENCY,
        "gpu_seconds": round(total.gpu_seconds, 3),
        "video_seconds": round(total.video_seconds, 3),
    }


def _disk(found: Disk) -> dict[str, Any]:
    return {"folder": str(found.folder), "free_bytes": found.free, "total_bytes": found.total}
