"""The outermost middleware: every response has an id, and no exception leaves as anything but plain JSON."""

import uuid

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stillmotion.edge.answer import send_json

HEADER = b"x-fal-request-id"
INTERNAL_ERROR = {"detail": "Internal server error", "error_type": "internal_error"}


class RequestId:
    """Adds ``x-fal-request-id`` to the HTTP responses that lack it: fal's Python client posts again after a 502, 503
    or 504 without one when the text reads like a proxy's.

    An exception of the application becomes a logged traceback here and a 500 without one for the client. An
    application that fails because its client has left is not an error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = left = False
        request_id = ""

        async def send_with_id(message: Message) -> None:
            nonlocal started, request_id
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                if not any(name.lower() == HEADER for name, _ in headers):
                    request_id = request_id or str(uuid.uuid4())
                    message = {**message, "headers": [*headers, (HEADER, request_id.encode())]}
            await send(message)

        async def watched_receive() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        try:
            await self.app(scope, watched_receive, send_with_id)
        except Exception as error:
            request_id = request_id or str(uuid.uuid4())
            log = structlog.get_logger(__name__).bind(request_id=request_id, method=scope["method"], path=scope["path"])
            if left:
                log.info("client_left", error=type(error).__name__)
            else:
                log.error("unhandled_exception", exc_info=error)
            if not started:
                await send_json(send_with_id, 500, INTERNAL_ERROR)
