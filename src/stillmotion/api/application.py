"""The HTTP application: routes, and one place where exceptions become answers."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from stillmotion.api import documents, files, queue, realtime, run, samples, storage, tokens, web, webhooks
from stillmotion.api.access import routes as access_routes
from stillmotion.api.json import json_response
from stillmotion.api.openai.application import create_openai
from stillmotion.api.platform import create_platform
from stillmotion.errors import StillmotionError, Unavailable
from stillmotion.service.service import Service
from stillmotion.service.uploads import Uploads


def create_api(
    service: Service,
    uploads: Uploads,
    access: web.Access = dict,
    openai_models: Mapping[str, str] = MappingProxyType({}),
) -> Starlette:
    """fal's wire over ``service`` and ``uploads``, OpenAI's videos, whose ``openai_models`` are other names for
    endpoints, and the playground, which tells programs of its own machine ``access``."""

    async def live(request: Request) -> Response:
        return json_response({"status": "live"})

    async def ready(request: Request) -> Response:
        try:
            await service.ready()
        except Unavailable as error:
            return json_response({"status": "unavailable", "detail": error.message}, 503)
        return json_response({"status": "ready"})

    application = Starlette(
        routes=[
            *queue.routes(service),
            Route("/health/live", live),
            Route("/health/ready", ready),
            *documents.routes(service),
            *web.routes(service, access),
            *access_routes(service),
            *tokens.routes(service),
            *files.routes(service, uploads),
            *samples.routes(service),
            *storage.routes(service, uploads),
            *realtime.routes(service),
            *run.routes(service),
            *webhooks.routes(service),
            Mount("/v1", create_platform(service)),
            Mount("/openai/v1", create_openai(service, openai_models)),
        ],
        exception_handlers={
            StillmotionError: _fault,
            HTTPException: _http_fault,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
    )
    application.router.redirect_slashes = False
    return application


async def _fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, StillmotionError)
    return queue.fault(error)


async def _http_fault(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, told in JSON like everything else."""
    assert isinstance(error, HTTPException)
    detail = f"Path {request.url.path} not found" if error.status_code == 404 else error.detail
    headers = {**(error.headers or {}), "x-fal-billable-units": "0"}
    return json_response({"detail": detail}, error.status_code, headers)


async def _broken(request: Request, error: Exception) -> Response:
    """What nobody foresaw; the edge writes its traceback to the log."""
    return queue.fault(StillmotionError("Internal server error"))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)
