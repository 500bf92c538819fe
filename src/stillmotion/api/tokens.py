"""``/rest/tokens/``: short-lived tokens that browsers run and connect with, so that the key stays on its server."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api.json import json_response, read_object
from stillmotion.errors import BadRequest
from stillmotion.service.service import Service

DEFAULT_SECONDS = 120
"""What both clients ask for."""
MAX_SECONDS = 86400
MAX_APPS, MAX_APP = 50, 200
_SUFFIXES = ("/realtime", "/stream")
"""Of the addresses of an endpoint; token providers are handed the whole of one."""


def routes(service: Service) -> list[Route]:
    """fal's two forms: the first is answered with the bare token, which its clients want, the newer with an object."""

    async def issued(request: Request) -> str:
        caller = await service.keys.caller(request.headers.get("authorization"))
        body = await read_object(request)
        return await service.tokens.issue(caller, _apps(body), _seconds(body))

    async def bare(request: Request) -> Response:
        return _created(await issued(request))

    async def wrapped(request: Request) -> Response:
        return _created({"token": await issued(request)})

    return [
        Route(path + slash, answer, methods=["POST"])
        for path, answer in (("/rest/tokens", bare), ("/rest/tokens/realtime", wrapped))
        for slash in ("", "/")
    ]


def _created(body: Any) -> Response:
    return json_response(body, 201, {"cache-control": "no-store"})


def _apps(body: Mapping[str, Any]) -> list[str]:
    apps = body.get("allowed_apps")
    fits = isinstance(apps, list) and 0 < len(apps) <= MAX_APPS
    if not fits or not all(isinstance(app, str) and 0 < len(app) <= MAX_APP for app in apps or ()):
        raise BadRequest(f"allowed_apps must be a list of 1 to {MAX_APPS} applications.")
    assert isinstance(apps, list)
    return [_endpoint(app) for app in apps]


def _endpoint(app: str) -> str:
    app = app.strip("/")
    for suffix in _SUFFIXES:
        app = app.removesuffix(suffix)
    return app


def _seconds(body: Mapping[str, Any]) -> int:
    given = body.get("token_expiration", body.get("duration", DEFAULT_SECONDS))
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= MAX_SECONDS:
        raise BadRequest(f"token_expiration must be 1 to {MAX_SECONDS} whole seconds.")
    return given
