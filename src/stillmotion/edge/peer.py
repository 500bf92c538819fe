"""What can be known, here and now, of whether the client at the other end of a connection gets an answer."""

import asyncio
import select
from collections.abc import Callable

HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
"""POLLRDHUP, which is Linux's: the client sends nothing more. The edge takes that for leaving, as uvicorn does."""
LOOK_SECONDS = 0.05


class Peer:
    """The client of one connection, for as long as that is open.

    ``scope["extensions"]["stillmotion.peer"]`` of every HTTP request is ``{"peer": ...}``, because ASGI's ``send`` does
    not tell whether there was anybody to send to.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self._ended = False
        self._broken = False

    @property
    def gone(self) -> bool:
        """Whether the connection is known to be at its end. Asked before an answer is sent, by others too."""
        if self._ended or self._transport.is_closing():
            return True
        # With a second request behind the one that is worked at, the loop does not read, and hears of no end.
        return not self._transport.is_reading() and self._hung_up()

    def has_left(self) -> bool:
        """``gone``, or the system knows what the event loop was not told yet."""
        return self.gone or self._hung_up()

    async def written(self) -> bool:
        """Asked right after the last ``send`` of an answer: waits until the system has taken all of it. False: the
        connection ended or broke before. What the client does after that is of no matter: some reset a connection that
        they need no more."""
        transport = self._transport
        if self._ended:
            return False
        ending = transport.is_closing()  # by the server, after this answer
        if transport.get_write_buffer_size():
            # uvloop writes at the end of this turn of the loop; behind other answers it may take longer.
            await self._until(lambda: self._ended or not transport.get_write_buffer_size())
        return not (self._broken if ending else self.gone)

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._socket.fileno(), HUNG_UP)
        return bool(poll.poll(0))

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Looks after a turn of the loop, which nearly always is enough, then every so often."""
        seconds = 0.0
        while not condition():
            await asyncio.sleep(seconds)
            seconds = LOOK_SECONDS

    def lost(self, error: Exception | None) -> None:
        """The connection has ended; ``error`` is why it broke, if it did."""
        self._ended = True
        self._broken = self._broken or error is not None

    def cut(self) -> None:
        """Ends the connection now; what waits to be written is dropped."""
        self._broken = self._broken or bool(self._transport.get_write_buffer_size())
        self._transport.abort()
