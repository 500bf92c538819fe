"""The queue: submit, status, result and cancel."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api import wire
from stillmotion.api.callers import tenant
from stillmotion.api.delivery import Told, peer_of
from stillmotion.api.faults import error_response
from stillmotion.api.json import json_response
from stillmotion.api.origins import origins
from stillmotion.api.previews import preview_response
from stillmotion.api.results import id_header, not_found, receipt_headers, result_response
from stillmotion.api.status_stream import StatusStream
from stillmotion.api.submission import TRUE, idempotency_key, max_queue, options, read_input
from stillmotion.errors import AlreadyCompleted, NotFound, StillmotionError
from stillmotion.service.faults import stored
from stillmotion.service.service import Service


def routes(service: Service) -> list[Route]:
    """What is asked most stands first: each route that is tried before it costs 2 us. No request is posted to."""
    surface = _Surface(service)
    found = [Route("/queue/{endpoint:path}", surface.submit, methods=["POST"])]
    # The application alone is fal's live form; its documents also show the full endpoint id.
    for app in ("/queue/{owner}/{alias}", "/queue/{owner}/{alias}/{path:path}"):
        request = app + "/requests/{id}"
        for slash in ("", "/"):
            found += [
                Route(request + "/status" + slash, surface.status, methods=["GET"]),
                Route(request + "/status/stream" + slash, surface.status_stream, methods=["GET"]),
                Route(request + "/preview" + slash, surface.preview, methods=["GET"]),
                Route(request + "/cancel" + slash, surface.cancel, methods=["PUT"]),
                Route(request + "/response" + slash, surface.result, methods=["GET"]),
                Route(request + slash, surface.result, methods=["GET"]),
            ]
    return [
        *found,
        # By GET, which the JavaScript client can be told to use, with the input as its query.
        Route("/queue/{endpoint:path}", surface.submit, methods=["GET"]),
    ]


class _Surface:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def submit(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        endpoint = self._service.endpoint(request.path_params["endpoint"].rstrip("/"))
        # Before anything is stored: refused is better than never called, for which a program would wait for ever.
        url = request.query_params.get("fal_webhook")
        webhook = None if url is None else self._service.webhooks.to(url, origins(request).files)
        key, told, most = idempotency_key(request), options(request), max_queue(request)
        body, peer = await read_input(request), peer_of(request)
        reply = self._service.repeats.expect(lambda: peer.gone)
        try:
            receipt = await self._service.submit(
                owner, endpoint.id, body, options=told, webhook=webhook, max_queue=most, key=key, reply=reply
            )
            answer = wire.submitted(origins(request).queue, receipt)
            if webhook:
                # Of the last attempt, on fal; ours all have the request's own.
                answer["gateway_request_id"] = receipt.id
            return Told(json_response(answer, headers=receipt_headers(receipt)), reply, peer)
        except BaseException:
            reply.end(written=False)
            raise

    async def status(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        try:
            view = await self._service.status(owner, *_address(request), logs=_wants(request, "logs"))
        except NotFound:
            return not_found()
        code = 200 if view.completed else 202
        return json_response(wire.status(origins(request).queue, view), code, id_header(view.request.id))

    async def status_stream(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        logs, progress = _wants(request, "logs"), _wants(request, "progress")
        return StatusStream(self._service, request, owner, *_address(request), logs=logs, progress=progress)

    async def preview(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        try:
            picture = await self._service.preview(owner, *_address(request))
        except NotFound:
            return not_found()
        return preview_response(request, picture)

    async def result(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        try:
            view = await self._service.result(owner, *_address(request))
        except NotFound:
            return not_found()
        return await result_response(self._service, request, view)

    async def cancel(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        try:
            await self._service.cancel(owner, *_address(request))
        except NotFound:
            return not_found()
        except AlreadyCompleted:
            return json_response({"status": "ALREADY_COMPLETED"}, 400)
        return json_response({"status": "CANCELLATION_REQUESTED"}, 202)


def fault(error: StillmotionError) -> Response:
    """The response for an error that no request has been stored for."""
    if isinstance(error, NotFound):
        return json_response({"detail": error.message}, 404, {"x-fal-billable-units": "0"})
    return error_response(stored(error))


def _wants(request: Request, what: str) -> bool:
    return request.query_params.get(what, "").lower() in TRUE


def _address(request: Request) -> tuple[str, str]:
    found = request.path_params
    return f"{found['owner']}/{found['alias']}", found["id"]
