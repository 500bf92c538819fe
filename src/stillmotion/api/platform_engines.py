"""The engines and their drain switch, below ``/v1/engines``: ours, not fal's."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api.callers import administrator
from stillmotion.api.json import json_response
from stillmotion.service.engines import Engine
from stillmotion.service.service import Service


class EngineBoard:
    """``GET /engines``, ``POST /engines/{name}/drain`` and ``POST /engines/{name}/resume``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, request: Request) -> Response:
        await administrator(self._service, request)
        return json_response({"engines": [_described(engine) for engine in self._service.engines]})

    async def drain(self, request: Request) -> Response:
        """Answers at once; the state is ``draining`` until the engine has ended what it works at."""
        await administrator(self._service, request)
        return json_response(_described(await self._service.drain_engine(request.path_params["name"])))

    async def resume(self, request: Request) -> Response:
        await administrator(self._service, request)
        return json_response(_described(await self._service.resume_engine(request.path_params["name"])))


def _described(engine: Engine) -> dict[str, Any]:
    return {
        "name": engine.name,
        "state": engine.state,
        "slots": engine.slots,
        "models": list(engine.models),
        "endpoints": list(engine.endpoints),
        "loaded": engine.model,
        "running": sorted(engine.running),
    }
