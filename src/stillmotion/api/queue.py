"""The queue and run surfaces: submit, status, result, cancel, and the synchronous run."""

import asyncio
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api import wire
from stillmotion.api.faults import error_response
from stillmotion.api.inline import inline_response
from stillmotion.api.json import json_response, read_object
from stillmotion.errors import AlreadyCompleted, BadRequest, NotCompleted, NotFound, StillmotionError
from stillmotion.service.faults import stored
from stillmotion.service.service import Service, View
from stillmotion.store.records import Error

LOCAL_TENANT = "local"
"""A server bound to loopback has one tenant: the machine's user."""

TRUE = frozenset({"1", "true", "yes", "on"})


def routes(service: Service) -> list[Route]:
    surface = _Surface(service)
    found = []
    # The application alone is fal's live form; its documents also show the full endpoint id.
    for app in ("/queue/{owner}/{alias}", "/queue/{owner}/{alias}/{path:path}"):
        request = app + "/requests/{id}"
        for slash in ("", "/"):
            found += [
                Route(request + "/status" + slash, surface.status, methods=["GET"]),
                Route(request + "/cancel" + slash, surface.cancel, methods=["PUT"]),
                Route(request + "/response" + slash, surface.result, methods=["GET"]),
                Route(request + slash, surface.result, methods=["GET"]),
            ]
    return [
        *found,
        Route("/queue/{endpoint:path}", surface.submit, methods=["POST"]),
        Route("/run/{endpoint:path}", surface.run, methods=["POST"]),
    ]


class _Surface:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def submit(self, request: Request) -> Response:
        endpoint = self._service.endpoint(request.path_params["endpoint"].rstrip("/"))
        if "fal_webhook" in request.query_params:
            # Better refused than accepted and never called: the program behind it would wait for ever.
            raise BadRequest("Webhooks are not available on this server; poll the status instead.")
        body = await read_object(request)
        receipt = await self._service.submit(LOCAL_TENANT, endpoint.id, body)
        return json_response(wire.submitted(origin(request), receipt), headers=_id_header(receipt.id))

    async def status(self, request: Request) -> Response:
        logs = request.query_params.get("logs", "").lower() in TRUE
        try:
            view = await self._service.status(LOCAL_TENANT, *_address(request), logs=logs)
        except NotFound:
            return _not_found()
        code = 200 if view.completed else 202
        return json_response(wire.status(origin(request), view), code, _id_header(view.request.id))

    async def result(self, request: Request) -> Response:
        try:
            view = await self._service.result(LOCAL_TENANT, *_address(request))
        except NotFound:
            return _not_found()
        return await self._result(request, view)

    async def cancel(self, request: Request) -> Response:
        try:
            await self._service.cancel(LOCAL_TENANT, *_address(request))
        except NotFound:
            return _not_found()
        except AlreadyCompleted:
            return json_response({"status": "ALREADY_COMPLETED"}, 400)
        return json_response({"status": "CANCELLATION_REQUESTED"}, 202)

    async def run(self, request: Request) -> Response:
        endpoint = self._service.endpoint(request.path_params["endpoint"].rstrip("/"))
        body = await read_object(request)
        receipt = await self._service.submit(LOCAL_TENANT, endpoint.id, body, origin="run")
        result = asyncio.ensure_future(self._service.wait(LOCAL_TENANT, receipt.app, receipt.id))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([result, gone], return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return await self._result(request, result.result())
            await self._leave(receipt.app, receipt.id)
            raise ClientDisconnect
        except asyncio.CancelledError:
            # The server closes the connection under a request when it stops.
            await asyncio.shield(self._leave(receipt.app, receipt.id))
            raise
        finally:
            result.cancel()
            gone.cancel()

    async def _result(self, request: Request, view: View) -> Response:
        found = view.request
        headers = _id_header(found.id)
        if found.model:
            headers["x-stillmotion-model"] = found.model
        if not view.completed:
            return error_response(Error(kind=NotCompleted.kind, message=NotCompleted().message), headers)
        if view.output is None:
            return error_response(found.error or Error(kind="internal_error", message="Internal server error"), headers)
        headers["x-fal-billable-units"] = view.billable_units
        if view.inline is None:
            return json_response(wire.output(origin(request), view.output), headers=headers)
        try:
            return await inline_response(view.output, view.inline, headers, partial(self._service.received, found.id))
        except FileNotFoundError:
            return _not_found()

    async def _leave(self, app: str, id: str) -> None:
        """Nobody can read the result of a run whose connection is gone: the work ends with it."""
        try:
            await self._service.cancel(LOCAL_TENANT, app, id)
        except (AlreadyCompleted, NotFound):
            return


def origin(request: Request) -> str:
    """Scheme, host and port as the client wrote them; answers must work from where the client stands."""
    return f"{request.url.scheme}://{request.url.netloc}"


def fault(error: StillmotionError) -> Response:
    """The response for an error that no request has been stored for."""
    if isinstance(error, NotFound):
        return json_response({"detail": error.message}, 404, {"x-fal-billable-units": "0"})
    return error_response(stored(error))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _address(request: Request) -> tuple[str, str]:
    found = request.path_params
    return f"{found['owner']}/{found['alias']}", found["id"]


def _not_found() -> Response:
    return json_response({"status": "NOT_FOUND"}, 404)


def _id_header(id: str) -> dict[str, str]:
    return {"x-fal-request-id": id}
