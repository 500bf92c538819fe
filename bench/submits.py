"""Durable submits over HTTP: how many a second, how soon each is answered, and that every answer was true."""

import asyncio
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from crash_snapshot import read_snapshot
from http_wire import Connection
from platform_process import PlatformProcess, platform_process, until
from tiny_request import SUBMIT, submit, tiny_request

from bench.machine import file_system
from bench.report import Section
from stillmotion.edge.server import run
from stillmotion.store import transitions
from stillmotion.store.records import NewRequest
from stillmotion.store.sqlite import SqliteStore

ROUNDS = 5
SECONDS = 3.0
"""Of each round and each number of connections."""
MANY = 16

METHOD = f"""A server process with the mock engine whose one slot is taken by a request that never ends, so that
nothing is claimed and nothing computed: what is measured is HTTP, validation, the transaction and its fdatasync. The
client is one more process on the same machine (asyncio, uvloop, keep-alive connections, a body of 0.4 kB), each
connection sends its next request when it has its answer. {ROUNDS} rounds of {SECONDS:.0f} s for each number of
connections, taking turns; rates are the median of the rounds, latencies are of all requests. The store alone is the
same transaction without HTTP, in a process of its own. The pragmas were read from the server's live connection.
Afterwards the server was killed with SIGKILL and the rows were counted."""


def bench() -> Section:
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        return run(_measure(Path(folder)))


async def _measure(folder: Path) -> Section:
    async with platform_process(folder, mock_slots=1, mock_seconds=86400) as server:
        with closing(server.connect()) as connection:
            await submit(connection, "occupies the only slot")
            await until(lambda: any((server.data / "files/work").glob("*/image_url.png")))
        body, count = tiny_request("a cat that looks up"), 1
        rates: dict[int, list[float]] = {1: [], MANY: []}
        latencies: dict[int, list[float]] = {1: [], MANY: []}
        for _ in range(ROUNDS):
            for connections in rates:
                found = await _round(server, body, connections)
                rates[connections].append(len(found) / SECONDS)
                latencies[connections] += found
                count += len(found)
        pragmas = _pragmas(server)
        await server.kill()
        rows = len(read_snapshot(server.data).rows)
    store = {writers: await _store_rate(folder / f"store-{writers}.db", writers) for writers in (1, MANY)}
    return Section(
        title="durable submits",
        method=METHOD,
        rows=[
            *(_row(connections, rates[connections], latencies[connections]) for connections in (MANY, 1)),
            *((f"the store alone, {writers} at once", f"{rate:,.0f} commits/s") for writers, rate in store.items()),
            ("4 KiB write and fdatasync on this disk", f"{_sync_ms(folder):.2f} ms, {file_system(folder)}"),
            ("the server's live connection", f"journal_mode={pragmas[0]}, synchronous={pragmas[1]} (2 is FULL)"),
            ("answered with 200 / rows after SIGKILL", f"{count:,} / {rows:,}"),
        ],
        faults=[] if rows == count else [f"{count} submits were answered, {rows} are on disk"],
    )


async def _round(server: PlatformProcess, body: bytes, connections: int) -> list[float]:
    """Seconds that each request took, in ``SECONDS`` of wall time."""
    end = time.perf_counter() + SECONDS

    async def send(connection: Connection) -> list[float]:
        with closing(connection):
            await connection.open()
            found = []
            while (began := time.perf_counter()) < end:
                answer = await connection.ask("POST", SUBMIT, body)
                found.append(time.perf_counter() - began)
                assert answer.status == 200, answer
            return found

    each = await asyncio.gather(*(send(server.connect()) for _ in range(connections)))
    return [seconds for found in each for seconds in found]


async def _store_rate(path: Path, writers: int) -> float:
    store = await SqliteStore.open(path)
    body = tiny_request("a cat that looks up").decode()
    try:

        async def write() -> None:
            new = NewRequest(
                id=str(uuid.uuid4()),
                tenant="t",
                app="a/b",
                endpoint="a/b/c",
                origin="queue",
                input=body,
                max_attempts=3,
            )
            await store.write(transitions.submit(new, now=time.time()))

        return statistics.median([await _rate(write, writers) for _ in range(3)])
    finally:
        await store.close()


async def _rate(act: Callable[[], Awaitable[None]], writers: int) -> float:
    end, count = time.perf_counter() + 1.0, 0

    async def act_on() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await act()
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*(act_on() for _ in range(writers)))
    return count / (time.perf_counter() - began)


def _pragmas(server: PlatformProcess) -> tuple[str, int]:
    """As the server logged them when it opened its store."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    (opened,) = [line for line in lines if line["event"] == "store opened"]
    return opened["journal_mode"], opened["synchronous"]


def _sync_ms(folder: Path) -> float:
    """Median milliseconds of 50 appended blocks, each synced."""
    found = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(4096))
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(file.fileno())
            found.append(time.perf_counter() - began)
    return statistics.median(found) * 1000


def _row(connections: int, rates: Sequence[float], latencies: Sequence[float]) -> tuple[str, str]:
    cuts = statistics.quantiles(latencies, n=100)
    plural = "s" if connections > 1 else ""
    rate = f"{statistics.median(rates):,.0f} submits/s (rounds {min(rates):,.0f} to {max(rates):,.0f})"
    return f"{connections} connection{plural}", f"{rate}, p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms"
