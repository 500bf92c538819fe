"""uvicorn's HTTP protocol with bounds: on the time and size of headers, on idling, on connections per address.

uvicorn 0.54 alone keeps a half-sent header for ever, accepts headers of a megabyte, merges trailers into the headers,
writes a 400 into the middle of a response, and keeps a connection whose client drips a body that nobody reads.
"""

import asyncio
import enum
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from stillmotion.edge import framing
from stillmotion.edge.answer import encode
from stillmotion.edge.deadline import Deadline
from stillmotion.edge.limits import EdgeLimits
from stillmotion.edge.peer import Peer

HEAD_TOO_LARGE = "The request headers are too large"


class Phase(enum.Enum):
    """Which part of a request the parser expects next."""

    BETWEEN = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class Refused(Exception):
    """Raised inside a parser callback to stop the parser; what to answer is left in the protocol."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    ``_reading`` bounds the time for headers, and for what is read after the answer; uvicorn's own timer bounds the
    time between requests, ``BodyLimit`` the bodies that the application reads. ``_writing`` bounds the time that a
    response waits for its reader.
    """

    def __init__(
        self, limits: EdgeLimits, *, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state, asyncio.get_running_loop())
        self._limits = limits
        self._reading = Deadline(self.loop)
        self._writing = Deadline(self.loop)
        self._phase = Phase.BETWEEN
        self._answer = (400, "Invalid HTTP request")
        self._refused = False
        self._surplus = 0  # bytes read after the answer
        self._begun = 0  # messages begun by the bytes received last
        self._raw_bytes = self._head_bytes = self._fields = self._body_bytes = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = Peer(transport)
        if self._is_one_too_many():
            transport.abort()
        else:
            self._reading.set(self._limits.header_seconds, self._on_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._peer.lost(exc)
        self._reading.clear()
        self._writing.clear()
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._spend(len(data))
            return
        before, self._begun = self._phase, 0
        if before is Phase.BETWEEN and not self._is_busy():
            # Any byte ends the idle time, also the line breaks that may stand before a request.
            self._reading.set(self._limits.header_seconds, self._on_late_head)
        super().data_received(data)
        if not self._refused and not self.transport.is_closing():
            self._count(len(data), before)

    def handle_websocket_upgrade(self) -> None:
        self._unset_keepalive_if_required()
        super().handle_websocket_upgrade()

    def _is_one_too_many(self) -> bool:
        most = self._limits.connections_per_address
        if most is None or self.client is None:
            return False
        clients = (getattr(each, "client", None) for each in self.connections)
        return len([1 for client in clients if client is not None and client[0] == self.client[0]]) > most

    def _is_busy(self) -> bool:
        """Whether a request waits for its response to end."""
        return self.cycle is not None and not self.cycle.response_complete

    # The request, as the parser reports it

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"stillmotion.peer": {"peer": self._peer}}
        self._phase = Phase.HEAD
        self._begun += 1
        self._raw_bytes = self._head_bytes = self._fields = self._body_bytes = self._surplus = 0
        self._reading.set(self._limits.header_seconds, self._on_late_head)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count_head(len(name) + len(value) + len(b": \r\n"))
        if self._phase is Phase.HEAD:  # trailers are dropped: they come after the headers were judged
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        method, version = self.parser.get_method().decode("ascii"), self.parser.get_http_version()
        why = framing.refusal(method, self.url, version, self.headers)
        if why is not None:
            self._stop(400, why)
        upgrade = self.parser.should_upgrade()
        if self._is_busy() and (upgrade or len(self.pipeline) >= self._limits.pipelined):
            self._stop(400, "Too many requests at once on one connection")
        self._reading.clear()
        self._phase = Phase.BODY
        super().on_headers_complete()
        if upgrade and not self._should_upgrade():
            # The parser loses what follows an upgrade that is not granted, so nothing may follow.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = Phase.BETWEEN
        if self.cycle is not None and self.cycle.response_complete:
            # That was the rest of a request that is answered already: only now is the connection idle.
            self._reading.clear()
            # One read may complete two messages (that rest, and an upgrade); a timer left behind would cut the second.
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # The response

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._writing.set(self._limits.stall_seconds, self._peer.cut)
        elif self._phase is Phase.BODY and not self._is_busy():
            self._reading.set(self._limits.linger_seconds, self._close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing.set(self._limits.stall_seconds, self._peer.cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._writing.clear()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def disconnect(self) -> None:
        """Tells the application that its client is gone, so that it ends a response that would go on."""
        self.pipeline.clear()
        if self._is_busy():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_writing()

    # Bounds

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.header_bytes or self._fields > self._limits.header_count:
            self._stop(431, HEAD_TOO_LARGE)

    def _count(self, size: int, before: Phase) -> None:
        """Counts raw bytes too: an unfinished header is gathered, and chunk framing skipped, without a callback."""
        if self._begun > (before is Phase.BETWEEN):
            return  # part of these bytes belongs to an earlier request; the next ones are counted
        if self._phase is Phase.HEAD:
            self._raw_bytes += size
            if self._raw_bytes > self._limits.header_bytes:
                self._refuse(431, HEAD_TOO_LARGE)
        elif self._phase is Phase.BODY and before is Phase.BODY:
            self._raw_bytes += size
            if not self._is_busy():
                self._spend(size)
            # A chunk of one byte takes five more of framing; eight leave room for a short extension.
            elif self._raw_bytes > self._limits.header_bytes + 9 * self._body_bytes:
                self._refuse(400, "The chunks of the request body are malformed")

    def _spend(self, size: int) -> None:
        self._surplus += size
        if self._surplus > self._limits.linger_bytes:
            self._close()

    def _on_late_head(self) -> None:
        if self._is_busy():
            self.cycle.keep_alive = False  # half a request behind a response that is under way: that one may end
        else:
            self._close()

    # Refusing

    def _stop(self, status: int, detail: str) -> None:
        self._answer = (status, detail)
        raise Refused(detail)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what the parser refused, or for what a callback of ours did."""
        self._refuse(*self._answer)

    def _refuse(self, status: int, detail: str) -> None:
        """Answers and closes. The client may go on sending for a moment: a socket closed with unread bytes sends a
        reset, which can destroy the answer before the client has seen it."""
        if self._phase is Phase.BODY:
            answerable = not self.pipeline and not self.cycle.response_started
        else:
            answerable = not self._is_busy()
        self._refused = True
        self.disconnect()
        self._reading.clear()
        if not answerable:
            self._close()  # an answer written now would land inside a response, or be a second one
            return
        self.transport.write(self._response(status, detail))
        if self.scheme == "http":
            self.transport.write_eof()
            self._reading.set(self._limits.linger_seconds, self._close)
        else:
            self._close()  # TLS cannot be half closed

    def _response(self, status: int, detail: str) -> bytes:
        body = encode({"detail": detail})
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        return b"".join([STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])

    def _close(self) -> None:
        self.transport.close()
        self._writing.set(self._limits.stall_seconds, self._peer.cut)
