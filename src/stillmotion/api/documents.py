"""The generated documents over HTTP: OpenAPI, llms.txt, and pages that a person reads without a script."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from stillmotion.api.origins import origins
from stillmotion.errors import NotFound
from stillmotion.service.service import Service

STYLE = Path(__file__).with_name("documents.css")
HEADERS = {
    # The text depends on the host by which it was asked for, and on the release that wrote it.
    "cache-control": "no-cache",
    "vary": "host",
    "x-content-type-options": "nosniff",
}
PAGE_HEADERS = {
    **HEADERS,
    # Nothing may run, load or frame; the stylesheet is the only file that a page has.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
}


def routes(service: Service) -> list[Route]:
    async def openapi(request: Request) -> Response:
        try:
            text = service.document("openapi", request.query_params.get("endpoint_id", ""), origins(request).site)
        except NotFound:
            return Response("null", 404, HEADERS, "application/json")
        return Response(text, 200, HEADERS, "application/json")

    async def llms(request: Request) -> Response:
        text = service.document("llms", request.path_params["endpoint"], origins(request).site)
        return Response(text, 200, HEADERS, "text/plain")

    async def page(request: Request) -> Response:
        return Response(
            service.document("page", request.path_params["endpoint"], origins(request).site),
            200,
            PAGE_HEADERS,
            "text/html",
        )

    async def models(request: Request) -> Response:
        return Response(service.index(origins(request).site), 200, PAGE_HEADERS, "text/html")

    async def style(request: Request) -> Response:
        return FileResponse(STYLE, headers=HEADERS, media_type="text/css")

    return [
        Route("/api/openapi/queue/openapi.json", openapi, methods=["GET"]),
        Route("/models", models, methods=["GET"]),
        Route("/models/style.css", style, methods=["GET"]),
        Route("/models/{endpoint:path}/llms.txt", llms, methods=["GET"]),
        Route("/models/{endpoint:path}/api", page, methods=["GET"]),
    ]
