"""``/samples``: photographs that this server itself offers, and the looping videos of the endpoints' cards.

For everybody: they are the package's own, and what the operator's model made of them.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from stillmotion.api.json import json_response
from stillmotion.api.origins import origins
from stillmotion.errors import NotFound
from stillmotion.service.card_samples import photograph_for
from stillmotion.service.photographs import CONTENT_TYPE, PATH, Photograph
from stillmotion.service.service import Service

DAY = 24 * 3600
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
    "cross-origin-resource-policy": "cross-origin",
}
LOOP = "/loop.mp4"


def routes(service: Service) -> list[Route]:
    async def photograph(request: Request) -> Response:
        path, found = service.photographs.file(request.path_params["name"])
        headers = {**HEADERS, "cache-control": f"public, max-age={DAY}"}
        return FileResponse(path, headers=headers, media_type=found.content_type)

    async def thumbnail(request: Request) -> Response:
        stem, dot, extension = request.path_params["name"].rpartition(".")
        if not dot or extension != "webp":
            raise NotFound("There is no such thumbnail")
        content = await service.photographs.thumbnail(stem)
        return Response(content, 200, {**HEADERS, "cache-control": f"public, max-age={DAY}"}, CONTENT_TYPE)

    async def loop(request: Request) -> Response:
        path = service.samples.ask(service.endpoint(request.path_params["endpoint"]))
        if path is None:
            raise NotFound("There is no sample of this endpoint yet")
        return FileResponse(path, headers={**HEADERS, "cache-control": "no-cache"}, media_type="video/mp4")

    return [
        Route(PATH + "thumbnails/{name}", thumbnail, methods=["GET"]),
        Route(PATH + "{endpoint:path}" + LOOP, loop, methods=["GET"]),
        Route(PATH + "{name}", photograph, methods=["GET"]),
    ]


class Samples:
    """``GET /v1/samples``: the photographs, each with a prompt that fits it."""

    def __init__(self, service: Service) -> None:
        self._photographs = service.photographs

    async def list(self, request: Request) -> Response:
        site = origins(request).site
        return json_response(
            {
                "samples": [
                    _described(each, self._photographs.file(each.name)[0], site) for each in self._photographs.every()
                ]
            }
        )


def photo_url(site: str, endpoint: str) -> str:
    """The small picture that an endpoint's card shows until there is a video."""
    return _thumbnail_url(site, photograph_for(endpoint).name)


def loop_url(site: str, endpoint: str) -> str:
    return f"{site}{PATH}{quote(endpoint)}{LOOP}"


def _thumbnail_url(site: str, name: str) -> str:
    return f"{site}{PATH}thumbnails/{name.rpartition('.')[0]}.webp"


def _described(photograph: Photograph, path: Path, site: str) -> dict[str, Any]:
    return {
        "name": photograph.name,
        "url": f"{site}{PATH}{photograph.name}",
        "thumbnail_url": _thumbnail_url(site, photograph.name),
        "width": photograph.width,
        "height": photograph.height,
        "content_type": photograph.content_type,
        "size": path.stat().st_size,
        "prompt": photograph.prompt,
        "credit": photograph.credit,
    }
