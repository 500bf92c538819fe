"""``/run/{endpoint}/realtime``: a websocket on which each message is an input, and each answer its output or error.

Every input goes through the queue like one of ``POST /run``, and ends with its connection; nothing waits in memory but
the ids. Answers come in the order of their inputs, because the Python client knows them by nothing else.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

import orjson
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from stillmotion.api import realtime_messages as messages
from stillmotion.api import wire
from stillmotion.api.callers import TOKEN, run_caller
from stillmotion.api.inline import inline_pieces
from stillmotion.api.json import LARGE
from stillmotion.api.origins import origins
from stillmotion.api.queue import fault
from stillmotion.api.realtime_messages import Frame
from stillmotion.api.results import error_of
from stillmotion.api.run import leave
from stillmotion.api.submission import options
from stillmotion.errors import BadRequest, NotFound, StillmotionError, Unauthorized
from stillmotion.service.faults import stored
from stillmotion.service.keys import Caller
from stillmotion.service.service import Receipt, Service
from stillmotion.service.view import View
from stillmotion.store.records import Error, Options

MAX_OPEN = 60
"""Inputs of one connection whose answers are still to come; also the most that ``max_buffering`` may say, as at fal."""
MAX_INLINE = 16 << 20
"""Bytes of a file that a message carries as a data URI: as large as a message to us may be."""
POLICY_VIOLATION, INTERNAL_ERROR = 1008, 1011
BUSY = Error(kind="queue_full", message=f"{MAX_OPEN} inputs of this connection are not answered yet.")
TOO_LARGE = Error(kind="bad_request", message="The output holds its file, which is larger than a message carries.")
DELETED = Error(kind="internal_error", message="The output was deleted before it could be sent.")


def routes(service: Service) -> list[WebSocketRoute]:
    async def connect(websocket: WebSocket) -> None:
        id = websocket.path_params["endpoint"].rstrip("/")
        try:
            caller = await run_caller(service, websocket, id)
            service.endpoint(id)
            connection = _Connection(service, websocket, id, caller, options(websocket), _buffering(websocket))
        except Unauthorized as error:
            if "authorization" in websocket.headers or TOKEN not in websocket.query_params:
                await websocket.send_denial_response(fault(error))
                return
            # Not refused but told, so that the JavaScript client asks for another token.
            await websocket.accept()
            await _dismiss(websocket)
        except StillmotionError as error:
            await websocket.send_denial_response(fault(error))
        else:
            await connection.serve()

    return [WebSocketRoute("/run/{endpoint:path}/realtime" + slash, connect) for slash in ("", "/")]


@dataclass(slots=True)
class _Open:
    """An answer that is still to come."""

    binary: bool
    id: str | None
    """What the client calls it."""
    receipt: Receipt | None = None
    error: Error | None = None
    """Why there is no request."""
    dropped: bool = False


class _Connection:
    def __init__(
        self,
        service: Service,
        websocket: WebSocket,
        endpoint: str,
        caller: Caller,
        options: Options,
        buffering: int | None,
    ) -> None:
        self._service = service
        self._websocket = websocket
        self._endpoint = endpoint
        self._caller = caller
        self._options = options
        self._buffering = buffering
        self._open: deque[_Open] = deque()
        self._added = asyncio.Event()

    async def serve(self) -> None:
        """Until either side leaves."""
        await self._websocket.accept()
        answering = asyncio.create_task(self._answer_forever())
        try:
            await self._read_until_left(answering)
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            await asyncio.shield(self._abandon())

    async def _read_until_left(self, answering: asyncio.Task[None]) -> None:
        # Read all the time, also while nothing more is taken: the client's word that it is alive, or gone, is read so.
        while True:
            reading = asyncio.ensure_future(self._websocket.receive())
            await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                await self._fail(answering)
                return
            message = reading.result()
            if message["type"] == "websocket.disconnect":
                return
            try:
                self._caller = await self._service.keys.holder(self._caller.key)
                frame: Frame = message["text"] if message.get("bytes") is None else message["bytes"]
                await self._take(frame)
            except Unauthorized:
                await _dismiss(self._websocket)
                return
            except WebSocketDisconnect:
                return

    async def _take(self, frame: Frame) -> None:
        opened = _Open(isinstance(frame, bytes), None)
        if len(self._open) >= MAX_OPEN:
            await self._websocket.send_text(messages.error_frame(BUSY))
            return
        try:
            read = messages.read_input
            taken = await asyncio.to_thread(read, frame) if len(frame) > LARGE else read(frame)
            opened.id = taken.id
            await self._make_room()
            opened.receipt = await self._service.submit(
                self._caller.tenant, self._endpoint, taken.arguments, origin="run", options=self._options
            )
        except StillmotionError as error:
            opened.error = stored(error)
        self._open.append(opened)
        self._added.set()

    async def _make_room(self) -> None:
        """Drops the oldest input that waits if there are as many as the client wants to wait: newer ones count more."""
        if self._buffering is None:
            return
        waiting = [each for each in tuple(self._open) if not each.dropped and await self._is_queued(each)]
        for each in waiting[: len(waiting) - self._buffering + 1]:
            assert each.receipt
            each.dropped = True
            await leave(self._service, self._caller.tenant, each.receipt)

    async def _is_queued(self, opened: _Open) -> bool:
        if opened.receipt is None:
            return False
        try:
            view = await self._service.status(self._caller.tenant, opened.receipt.app, opened.receipt.id)
        except NotFound:
            return False
        return view.request.state == "queued"

    async def _answer_forever(self) -> None:
        while True:
            while not self._open:
                self._added.clear()
                await self._added.wait()
            opened = self._open[0]
            frame, view = await self._answer_to(opened)
            if isinstance(frame, bytes):
                await self._websocket.send_bytes(frame)
            else:
                await self._websocket.send_text(frame)
            self._open.popleft()
            if view is not None and view.inline is not None:
                await self._service.received(view.request.id)

    async def _answer_to(self, opened: _Open) -> tuple[Frame, View | None]:
        if opened.receipt is None:
            assert opened.error
            return messages.error_frame(opened.error, opened.id), None
        id = opened.id or opened.receipt.id
        try:
            view = await self._service.wait(self._caller.tenant, opened.receipt.app, opened.receipt.id)
        except NotFound:
            return messages.error_frame(DELETED, id), None
        if opened.dropped and view.request.state == "cancelled":
            return messages.told("x-fal-message", action="dropped", request_id=id), None
        if view.output is None:
            return messages.error_frame(error_of(view), id), None
        output = wire.output(origins(self._websocket).files, view.output)
        if view.inline is not None:
            try:
                if view.inline.stat().st_size > MAX_INLINE:
                    return messages.error_frame(TOO_LARGE, id), None
                output = orjson.loads(b"".join([piece async for piece in inline_pieces(view.output, view.inline)]))
            except FileNotFoundError:
                return messages.error_frame(DELETED, id), None
        return messages.output_frame(output, id, binary=opened.binary), view

    async def _fail(self, answering: asyncio.Task[None]) -> None:
        """The answers ended: the client is gone, or something broke that nobody foresaw."""
        try:
            answering.result()
        except WebSocketDisconnect:
            return
        except Exception:
            await self._websocket.close(INTERNAL_ERROR, "Internal server error")
            raise

    async def _abandon(self) -> None:
        receipts = [each.receipt for each in self._open if each.receipt is not None]
        await asyncio.gather(*(leave(self._service, self._caller.tenant, receipt) for receipt in receipts))


async def _dismiss(websocket: WebSocket) -> None:
    try:
        await websocket.send_text(messages.UNAUTHORIZED)
        await websocket.close(POLICY_VIOLATION, "Unauthorized")
    except WebSocketDisconnect:
        return


def _buffering(connection: HTTPConnection) -> int | None:
    """How many inputs may wait before the oldest is dropped; None: none ever is."""
    text = connection.query_params.get("max_buffering")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 3 and 1 <= int(text) <= MAX_OPEN):
        raise BadRequest(f"max_buffering must be between 1 and {MAX_OPEN}.")
    return int(text)
