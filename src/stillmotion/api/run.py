"""Requests that live on their connection: ``POST /run/{endpoint}``, and the same with events while it is worked at.

Both end with their connection: nobody else can read what they make. With an ``Idempotency-Key`` they are requests of
the queue that this connection waits for: whoever says the key again, waits on or gets the same answer.

A synchronous answer has its headers when the work is done, not before. Headers sent early would keep Node's fetch from
giving up after 300 seconds, but they fix the status at 200, and every error of the work (422, 499, 504) would look like
an output; both clients decide by the status alone. What may take minutes belongs into the queue, or has events.
"""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stillmotion.api import wire
from stillmotion.api.callers import run_caller
from stillmotion.api.events import KEEP_ALIVE, EventStream, event, until_gone
from stillmotion.api.faults import error_body, fault_of
from stillmotion.api.inline import inline_pieces
from stillmotion.api.origins import origins
from stillmotion.api.progress import ProgressReport
from stillmotion.api.results import error_of, not_found, receipt_headers, result_response
from stillmotion.api.submission import idempotency_key, max_queue, options, read_input
from stillmotion.errors import AlreadyCompleted, NotFound
from stillmotion.service.service import Receipt, Service
from stillmotion.service.view import Follower, View

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""fal hands on whatever method its clients are told to use; with GET the input is the query, else the body."""
HOLD_SECONDS = 5.0
"""How long the first event waits for the first step: a picture that cannot be had is then still told by the status."""


def routes(service: Service) -> list[Route]:
    surface = _Runs(service)
    return [
        *(Route("/run/{endpoint:path}/stream" + slash, surface.stream, methods=METHODS) for slash in ("", "/")),
        Route("/run/{endpoint:path}", surface.run, methods=METHODS),
    ]


class _Runs:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def run(self, request: Request) -> Response:
        owner, receipt = await self._submit(request)
        result = asyncio.ensure_future(self._service.wait(owner, receipt.app, receipt.id))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([result, gone], return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                view, told = result.result(), receipt_headers(receipt)
                response = await result_response(self._service, request, view, again=receipt.lasting)
                response.headers.update(told)
                return response
            await leave(self._service, owner, receipt)
            raise ClientDisconnect
        except asyncio.CancelledError:
            # The server closes the connection under a request when it stops.
            await asyncio.shield(leave(self._service, owner, receipt))
            raise
        finally:
            result.cancel()
            gone.cancel()

    async def stream(self, request: Request) -> Response:
        owner, receipt = await self._submit(request)
        return _ModelStream(self._service, request, owner, receipt)

    async def _submit(self, request: Request) -> tuple[str, Receipt]:
        id = request.path_params["endpoint"].rstrip("/")
        owner = (await run_caller(self._service, request, id)).tenant
        endpoint = self._service.endpoint(id)
        key, told, most = idempotency_key(request), options(request), max_queue(request)
        receipt = await self._service.submit(
            owner,
            endpoint.id,
            await read_input(request),
            origin="run" if key is None else "queue",
            options=told,
            max_queue=most,
            key=key,
        )
        return owner, receipt


class _ModelStream(Response):
    """Progress as events and the output as the last one. What fails before the first step is a plain HTTP error; what
    fails later is a last event with ``"status": "ERROR"``, the status code and the error's body."""

    def __init__(self, service: Service, request: Request, owner: str, receipt: Receipt) -> None:
        self.background = None
        self._service = service
        self._request = request
        self._owner = owner
        self._receipt = receipt
        self._report = ProgressReport()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = EventStream(send, receipt_headers(self._receipt))
        ended = False
        try:
            where = (self._owner, self._receipt.app, self._receipt.id)
            async with (
                self._service.follow(*where, logs=False, progress=True) as follower,
                until_gone(receive, follower.wake) as gone,
            ):
                ended = await self._follow(follower, stream, gone)
            if ended:
                view = await self._service.result(*where)
                if stream.opened or view.output is not None:
                    await self._end(stream, view)
                else:
                    again = self._receipt.lasting
                    response = await result_response(self._service, self._request, view, again=again)
                    await response(scope, receive, send)
        except NotFound:
            await (stream.end() if stream.opened else not_found()(scope, receive, send))
        finally:
            if not ended:
                await asyncio.shield(leave(self._service, self._owner, self._receipt))

    async def _follow(self, follower: Follower, stream: EventStream, gone: Callable[[], bool]) -> bool:
        """Sends events until the request has ended; False when the client left first."""
        loop = asyncio.get_running_loop()
        hold_until = loop.time() + HOLD_SECONDS
        timer = loop.call_at(hold_until, follower.wake)
        try:
            latest: View | None = None
            while not gone():
                view = await follower.next()
                latest = view or latest
                if latest and latest.completed:
                    return True
                held = not stream.opened
                if latest and (latest.progress or loop.time() >= hold_until):
                    await stream.send(self._event(latest) if view or held else KEEP_ALIVE)
            return False
        finally:
            timer.cancel()

    def _event(self, view: View) -> bytes:
        return event(self._report.told(view))

    async def _end(self, stream: EventStream, view: View) -> None:
        if view.output is None:
            error = error_of(view)
            told = {"status": "ERROR", "status_code": fault_of(error.kind).status, "error": error.message}
            await stream.send(event({**error_body(error), **told}))
        elif view.inline is None:
            await stream.send(event(wire.output(origins(self._request).files, view.output)))
        else:
            await stream.send(b"data: ")
            async for piece in inline_pieces(view.output, view.inline):
                await stream.send(piece)
            await stream.send(b"\n\n")
        await stream.end()
        if view.inline is not None and not self._receipt.lasting:
            await self._service.received(view.request.id)


async def leave(service: Service, owner: str, receipt: Receipt) -> None:
    """Nobody can read the result of a request whose connection is gone: the work ends with it."""
    if receipt.lasting:
        return
    try:
        await service.cancel(owner, receipt.app, receipt.id)
    except (AlreadyCompleted, NotFound):
        return


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
