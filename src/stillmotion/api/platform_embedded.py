"""``POST /v1/embedded-settings``: how a video was made, from the video, or from its head and tail."""

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api.callers import tenant
from stillmotion.api.json import json_response
from stillmotion.errors import BadRequest
from stillmotion.service.embedded import MAX_BYTES, MAX_SIZE, Pieces
from stillmotion.service.service import Service


class EmbeddedReader:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        await tenant(self._service, request)
        # The edge bounds it: see ``SMALL_BODY``.
        content = await request.body()
        size = _number(request, "size", len(content), MAX_SIZE)
        head = _number(request, "head", len(content), MAX_BYTES)
        found = await self._service.embedded.read(Pieces(content=content, size=size, head=head))
        return json_response(
            {
                "endpoint_id": found.endpoint,
                "model": found.model,
                "input": found.input,
                "served": found.served,
            }
        )


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text) <= most):
        raise BadRequest(f"{name}: should be a number of bytes up to {most}")
    return int(text)
