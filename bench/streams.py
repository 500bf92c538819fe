"""Two thousand open status streams: what they weigh, and how soon each hears of its request's end."""

import asyncio
import json
import resource
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil
from http_wire import request_bytes
from platform_process import HOST, PlatformProcess, platform_process, until
from tiny_request import REQUESTS, submit

from bench.report import Section
from stillmotion.edge.server import run

STREAMS = 2000
PACE = 200
"""Ends a second, where requests end one after the other."""
PATIENCE = 60.0
METHOD = f"""A server with the mock engine, whose one slot is taken; {STREAMS:,} connections (plain http) from one
client process follow `/status/stream`. First each follows a request of its own, and the requests are cancelled {PACE} a
second: the time is from the answer to the cancellation until the last event has arrived. Then all follow one request,
which is cancelled: all hear of it in the same instant, and the time is until the last of them has. Memory is the
server's resident memory (RSS) before the first stream and with all of them open."""


def bench() -> Section:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < STREAMS + 200:
        raise FileNotFoundError(f"this process may open {hard} files, and {STREAMS + 200} are needed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, STREAMS + 200), hard))
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        return run(_measure(Path(folder)))


async def _measure(folder: Path) -> Section:
    async with platform_process(folder, mock_slots=1, mock_seconds=86400) as server:
        with closing(server.connect()) as connection:
            await submit(connection, "occupies the only slot")
            await until(lambda: any((server.data / "files/work").glob("*/image_url.png")))
            ids = [await submit(connection, f"request {number}") for number in range(STREAMS)]
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        each, with_streams = await _one_after_the_other(server, ids)
        with closing(server.connect()) as connection:
            one = await submit(connection, "the one that all follow")
        together = await _together(server, one)
    return Section(
        title=f"{STREAMS:,} open status streams",
        method=METHOD,
        rows=[
            ("memory before, and with all open", f"{before / 1e6:.0f} MB, {with_streams / 1e6:.0f} MB (goal <= 400)"),
            ("a request of its own each: last event after", f"{_told(each)} (goal <= 1 s for every one)"),
            ("one request for all: last event after", f"{_told(together)} (goal <= 1 s for every one)"),
        ],
    )


async def _one_after_the_other(server: PlatformProcess, ids: list[str]) -> tuple[list[float], int]:
    """Seconds from each cancellation to the end of its stream, and the server's memory while all were open."""
    streams = await _open(server, ids)
    memory = psutil.Process(server.pid).memory_info().rss
    ends = [asyncio.create_task(stream.end()) for stream in streams]
    cancelled = []
    with closing(server.connect()) as connection:
        for number, id in enumerate(ids):
            began = time.perf_counter()
            answer = await connection.ask("PUT", f"{REQUESTS}/{id}/cancel")
            assert answer.status == 202, answer
            cancelled.append(time.perf_counter())
            if number % 10 == 9:
                await asyncio.sleep(max(0.0, 10 / PACE - (time.perf_counter() - began)))
    async with asyncio.timeout(PATIENCE):
        ended = await asyncio.gather(*ends)
    # The stream may hear of it before whoever cancelled does.
    return [max(0.0, end - began) for began, end in zip(cancelled, ended, strict=True)], memory


async def _together(server: PlatformProcess, id: str) -> list[float]:
    streams = await _open(server, [id] * STREAMS)
    ends = [asyncio.create_task(stream.end()) for stream in streams]
    with closing(server.connect()) as connection:
        began = time.perf_counter()
        assert (await connection.ask("PUT", f"{REQUESTS}/{id}/cancel")).status == 202
    async with asyncio.timeout(PATIENCE):
        return [end - began for end in await asyncio.gather(*ends)]


async def _open(server: PlatformProcess, ids: list[str]) -> list["_Stream"]:
    """A stream for each id, each with its first event; fifty are opened at a time."""
    gate = asyncio.Semaphore(50)

    async def opened(id: str) -> _Stream:
        async with gate, asyncio.timeout(PATIENCE):
            return await _Stream.open(server, id)

    return await asyncio.gather(*(opened(id) for id in ids))


class _Stream:
    """One open stream, read without a parser's cost: events are whole lines, and the last one says COMPLETED."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, server: PlatformProcess, id: str) -> "_Stream":
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(request_bytes((HOST, server.port), "GET", f"{REQUESTS}/{id}/status/stream", None))
        stream = cls(reader, writer)
        assert await stream._event() == "IN_QUEUE"
        return stream

    async def end(self) -> float:
        """When the last event arrived."""
        try:
            while await self._event() != "COMPLETED":
                pass
            return time.perf_counter()
        finally:
            self._writer.close()

    async def _event(self) -> str:
        while not (line := await self._reader.readline()).startswith(b"data: "):
            assert line, "the stream ended before its request"
        status: str = json.loads(line[6:])["status"]
        return status


def _told(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s, latest {max(seconds):.2f} s"
