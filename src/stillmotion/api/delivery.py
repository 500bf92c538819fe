"""Answers of which it matters whether they reached their client."""

from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stillmotion.service.repeats import Reply


class Peer(Protocol):
    """What the edge knows of the client of a connection."""

    @property
    def gone(self) -> bool:
        """Whether the client is known to have left."""
        ...

    def has_left(self) -> bool:
        """The same, by a look at the connection itself."""
        ...

    async def written(self) -> bool:
        """Right after the last ``send``: whether the system has taken all of the answer."""
        ...


def peer_of(request: Request) -> Peer:
    peer: Peer = request.scope["extensions"]["stillmotion.peer"]["peer"]
    return peer


class Told(Response):
    """``response``, and ``reply`` is told what became of it. Nothing is sent to a client that has left."""

    def __init__(self, response: Response, reply: Reply, peer: Peer) -> None:
        self.background = None
        self._response = response
        self._reply = reply
        self._peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        written = False
        try:
            if self._peer.has_left():
                raise ClientDisconnect
            self._reply.sending = True
            await self._response(scope, receive, send)
            written = await self._peer.written()
        finally:
            self._reply.end(written=written)
