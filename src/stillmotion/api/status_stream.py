"""``GET .../status/stream``: every change of a request's status as an event, until it is completed."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stillmotion.api import wire
from stillmotion.api.events import KEEP_ALIVE, EventStream, event, until_gone
from stillmotion.api.origins import origins
from stillmotion.api.progress import ProgressReport
from stillmotion.api.results import id_header, not_found
from stillmotion.errors import NotFound
from stillmotion.service.service import Service
from stillmotion.service.view import Follower, View


class StatusStream(Response):
    """Events are status bodies; where logs are asked for, each has the lines that came since the one before.

    With ``progress`` every step of the work is a change too, told under ``progress`` as a model's stream tells it:
    ours, not fal's, whose clients read over it.

    Open streams cost nothing while nothing changes: 2,000 of them look at the store 200 times a second together.
    """

    def __init__(
        self, service: Service, request: Request, owner: str, app: str, id: str, *, logs: bool, progress: bool = False
    ) -> None:
        self.background = None
        self._service = service
        self._queue = origins(request).queue
        self._address = (owner, app, id)
        self._logs = logs
        self._report = ProgressReport() if progress else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = EventStream(send, id_header(self._address[2]))
        try:
            async with self._service.follow(
                *self._address, logs=self._logs, progress=self._report is not None
            ) as follower:
                await stream.open()
                if scope["method"] == "HEAD":
                    await stream.end()
                    return
                async with until_gone(receive, follower.wake) as gone:
                    while not gone() and await self._tell(follower, stream):
                        pass
        except NotFound:
            # Deleted while it was followed, or never there.
            await (stream.end() if stream.opened else not_found()(scope, receive, send))

    async def _tell(self, follower: Follower, stream: EventStream) -> bool:
        """Sends the next event; whether others may follow."""
        view = await follower.next()
        await stream.send(KEEP_ALIVE if view is None else event(self._body(view)))
        if view is None or not view.completed:
            return True
        await stream.end()
        return False

    def _body(self, view: View) -> dict[str, Any]:
        body = wire.status(self._queue, view)
        if self._report is not None and view.progress is not None:
            body["progress"] = self._report.told(view)
        return body
