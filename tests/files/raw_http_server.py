"""A server on 127.0.0.1 that sends exactly the bytes it is told to, however wrong they are as HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

Answer = bytes | Iterable[bytes | float]
"""Bytes to send, or a series of bytes to send and seconds to wait."""


class RawServer:
    """``answers`` maps a request target to one answer for all requests, or to a list that each request takes one of."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Any]] = {}
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            self.requests.append(head)
            await self._send(writer, self._answer(head.split()[1].decode()))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    def _answer(self, target: str) -> Answer:
        answer = self.answers[target]
        return answer.pop(0) if isinstance(answer, list) else answer

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        for part in [answer] if isinstance(answer, bytes) else answer:
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(
                    0
                )  # drain returns at once while there is room, and an endless answer would stay here

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def run_server(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    raw = RawServer()
    server = await asyncio.start_server(raw.serve, host, port, ssl=tls)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        raw.stop()
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A well-formed answer; ``content_type="a/b"`` becomes ``content-type: a/b``."""
    fields = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = f"HTTP/1.1 {status} Status\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body
