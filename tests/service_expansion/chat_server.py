"""A server on 127.0.0.1 that speaks OpenAI's chat completions, as well or as badly as it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = Iterable[bytes | float | None]
"""Bytes to send, seconds to wait, and None to hang up."""


@dataclass
class ChatServer:
    """Answers each request with the next of ``answers``, and the last one again and again."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    """Request line, headers by lower-case name, and body of each request."""
    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10):
                line, *lines = head.decode().rstrip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append((line, headers, json.loads(body)))
                self.asked.set()
                await self._send(writer, self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        for part in answer:
            if part is None:
                raise ConnectionAbortedError
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                writer.write(part)
                await writer.drain()


@asynccontextmanager
async def chat_server(*answers: Answer) -> AsyncIterator[ChatServer]:
    chat = ChatServer(list(answers))
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(chat.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    chat.port = server.sockets[0].getsockname()[1]
    try:
        yield chat
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(server.wait_closed(), 5)


def http(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A well-formed answer; ``content_type="a/b"`` becomes ``content-type: a/b``."""
    fields = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    return [_head(status, fields), body]


def completion(content: Any, finish_reason: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()


def said(content: Any, finish_reason: str = "stop") -> Answer:
    return http(200, completion(content, finish_reason), content_type="application/json")


def chunked(body: bytes, *, size: int = 7) -> Answer:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return [
        _head(200, {"transfer-encoding": "chunked"}),
        *(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces),
        b"0\r\n\r\n",
    ]


def endless(seconds: float) -> Answer:
    """A body without end, a megabyte after every ``seconds``."""
    yield _head(200, {"transfer-encoding": "chunked"})
    while True:
        yield b"40000\r\n" + b" " * 0x40000 + b"\r\n"
        yield seconds


def _head(status: int, fields: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode()
