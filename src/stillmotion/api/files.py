"""Finished files over HTTP: immutable, with ranges for players, and never as anything but what they are."""

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from stillmotion.service.service import Service


def routes(service: Service) -> list[Route]:
    async def get(request: Request) -> Response:
        path, stored = await service.file(request.path_params["name"])
        headers = {
            # A name is never reused, so it identifies the content.
            "etag": f'"{path.stem}"',
            "cache-control": "public, max-age=31536000, immutable",
            "x-content-type-options": "nosniff",
            # Should a browser ever open one as a document, it may run nothing.
            "content-security-policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
            "cross-origin-resource-policy": "cross-origin",
        }
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return FileResponse(path, media_type=stored.content_type, headers=headers)

    return [Route("/files/{name}", get, methods=["GET"])]
