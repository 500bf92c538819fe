"""Durable submits over HTTP: how many a second, how soon each is answered, and that every answer was true."""

import asyncio
import json
import os
import statistics
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from crash_snapshot import read_snapshot
from http_wire import Connection
from platform_process import PlatformProcess, platform_process, until
from tiny_request import SUBMIT, submit, tiny_request

from bench.machine import file_system
from bench.peer import PREDICT, peer, version
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
connections, taking turns; rates are the median of the rounds, latencies are of all requests. LitServe takes its turns
in the same rounds, from the same client with the same body: one server process under uvloop, one worker, a `predict`
that returns `{{}}`, nothing stored. The store alone is the same transaction without HTTP, in a process of its own. The
pragmas were read from the server's live connection. Afterwards the server was killed with SIGKILL and the rows were
counted."""
GOALS = "goal >= 2, and <= 0.5"


def bench() -> Section:
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        return run(_measure(Path(folder)))


async def _measure(folder: Path) -> Section:
    litserve = f"LitServe {version()}"
    async with platform_process(folder, mock_slots=1, mock_seconds=86400) as server, peer(folder) as other:
        with closing(server.connect()) as connection:
            await submit(connection, "occupies the only slot")
            await until(lambda: any((server.data / "files/work").glob("*/image_url.png")))
        body = tiny_request("a cat that looks up")
        ours = _Loads(server.connect, SUBMIT, body)
        theirs = _Loads(lambda: Connection(*other), PREDICT, body)
        for _ in range(ROUNDS):
            for connections in (1, MANY):
                for loads in (ours, theirs):
                    await loads.round(connections)
        pragmas = _pragmas(server)
        await server.kill()
        rows = len(read_snapshot(server.data).rows)
    count = ours.count + 1
    store = {writers: await _store_rate(folder / f"store-{writers}.db", writers) for writers in (1, MANY)}
    return Section(
        title="durable submits",
        method=METHOD,
        rows=[
            *((_many(connections), ours.told(connections)) for connections in (MANY, 1)),
            *((f"{litserve}, {_many(connections)}", theirs.told(connections)) for connections in (MANY, 1)),
            (
                f"rate at {MANY}, and p50 at 1, as ratios to LitServe's",
                f"{ours.rate(MANY) / theirs.rate(MANY):.2f}, and {ours.p50(1) / theirs.p50(1):.2f} ({GOALS})",
            ),
            *((f"the store alone, {writers} at once", f"{rate:,.0f} commits/s") for writers, rate in store.items()),
            ("4 KiB write and fdatasync on this disk", f"{_sync_ms(folder):.2f} ms, {file_system(folder)}"),
            ("the server's live connection", f"journal_mode={pragmas[0]}, synchronous={pragmas[1]} (2 is FULL)"),
            ("answered with 200 / rows after SIGKILL", f"{count:,} / {rows:,}"),
        ],
        faults=[] if rows == count else [f"{count} submits were answered, {rows} are on disk"],
    )


class _Loads:
    """Rounds of one request, sent to one server over and over."""

    def __init__(self, connect: Callable[[], Connection], target: str, body: bytes) -> None:
        self._connect = connect
        self._target = target
        self._body = body
        self._rates: dict[int, list[float]] = defaultdict(list)
        self._latencies: dict[int, list[float]] = defaultdict(list)

    @property
    def count(self) -> int:
        return sum(map(len, self._latencies.values()))

    async def round(self, connections: int) -> None:
        end = time.perf_counter() + SECONDS
        each = await asyncio.gather(*(self._send(end) for _ in range(connections)))
        found = [seconds for found in each for seconds in found]
        self._rates[connections].append(len(found) / SECONDS)
        self._latencies[connections] += found

    async def _send(self, end: float) -> list[float]:
        """Seconds that each request took, on one connection."""
        with closing(self._connect()) as connection:
            await connection.open()
            found = []
            while (began := time.perf_counter()) < end:
                answer = await connection.ask("POST", self._target, self._body)
                found.append(time.perf_counter() - began)
                assert answer.status == 200, answer
            return found

    def rate(self, connections: int) -> float:
        return statistics.median(self._rates[connections])

    def p50(self, connections: int) -> float:
        return statistics.median(self._latencies[connections])

    def told(self, connections: int) -> str:
        rates, cuts = self._rates[connections], statistics.quantiles(self._latencies[connections], n=100)
        rate = f"{self.rate(connections):,.0f} requests/s (rounds {min(rates):,.0f} to {max(rates):,.0f})"
        return f"{rate}, p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms"


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


def _many(connections: int) -> str:
    return f"{connections} connection{'s' if connections > 1 else ''}"
