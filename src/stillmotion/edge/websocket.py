"""uvicorn's websocket protocol with a bound on the time that a message waits for its reader, and a plain good-bye.

uvicorn 0.54 alone closes a client that does not answer its pings, and then keeps the connection, and what could not be
written to it, for as long as the client keeps its side open.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Close, CloseCode, Frame, Opcode

from stillmotion.edge.deadline import Deadline
from stillmotion.edge.limits import EdgeLimits


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """One connection after its upgrade."""

    def __init__(
        self, limits: EdgeLimits, *, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state, asyncio.get_running_loop())
        self._limits = limits
        self._writing = Deadline(self.loop)
        self._echo = self.conn.send_frame
        # The library answers a close by itself, and has no other place to say with what.
        self.conn.send_frame = self._send_frame  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._writing.clear()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing.set(self._limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing.clear()

    def _send_frame(self, frame: Frame) -> None:
        """Answers a client that closes without a code by the one for a normal end: fal's JavaScript client takes any
        other answer to its own ``close()``, an echo without a code too, for an error."""
        if frame.opcode is Opcode.CLOSE and not frame.data:
            frame = Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "").serialize())
        self._echo(frame)
