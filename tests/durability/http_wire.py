"""A lean HTTP/1.1 client that tells apart what a client of a dying server must: was the request sent or not?"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PATIENCE = 30.0  # seconds; a bound for hangs, not an expectation


class Unsent(Exception):
    """No connection: the server cannot have seen the request."""


class Lost(Exception):
    """The request was sent, and the connection ended before a whole answer: it may have taken effect."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One keep-alive connection, opened on first use and again after a loss. Not for concurrent use."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, body: bytes | None = None) -> Answer:
        """One request and its answer. Raises Unsent or Lost."""
        await self.send(method, target, body)
        return await self.receive()

    async def open(self) -> None:
        """Raises Unsent."""
        if self._streams is None:
            try:
                async with asyncio.timeout(PATIENCE):
                    self._streams = await asyncio.open_connection(*self._address)
            except (OSError, TimeoutError) as error:
                raise Unsent from error

    async def send(self, method: str, target: str, body: bytes | None = None) -> None:
        """Hands one request to the kernel, without waiting for anything."""
        await self.open()
        assert self._streams
        self._streams[1].write(request_bytes(self._address, method, target, body))

    async def receive(self) -> Answer:
        """The answer to what was sent. Raises Lost, and TimeoutError from a server that hangs."""
        assert self._streams
        try:
            async with asyncio.timeout(PATIENCE):
                return await _read_answer(self._streams[0])
        except (OSError, asyncio.IncompleteReadError) as error:
            # TimeoutError is an OSError: a server that lives and says nothing is a fault, not a loss.
            self.close()
            if isinstance(error, TimeoutError):
                raise
            raise Lost from error

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


def request_bytes(address: tuple[str, int], method: str, target: str, body: bytes | None) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    """All of the server's answers that these tests and benchmarks meet have a Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(head[0].split()[1]), headers, body)
