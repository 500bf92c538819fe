"""Status polls, as fal's Python client sends them ten times a second, beside an empty and a long queue."""

import asyncio
import statistics
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path

from http_wire import Connection
from platform_process import PlatformProcess, until
from tiny_request import ENDPOINT, REQUESTS, submit, tiny_request

from bench.report import Section
from stillmotion.edge.server import run
from stillmotion.store import transitions
from stillmotion.store.records import NewRequest
from stillmotion.store.sqlite import SqliteStore

QUEUED = 100_000
ROUNDS, SECONDS, MANY = 5, 2.0, 16
METHOD = f"""Two servers with the mock engine, whose one slot is taken by a request that never ends: beside it one
request waits in the one, {QUEUED:,} in the other. {MANY} connections poll the status of the request that came last,
with its place in the queue, first without and then with logs; {ROUNDS} rounds of {SECONDS:.0f} s each, the servers
taking turns; latencies are of all polls. One more client submits and cancels 20 times a second, so that the queue never
stands still."""


def bench() -> Section:
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        for queued in (0, QUEUED):
            (Path(folder) / str(queued) / "data").mkdir(parents=True)
        return run(_measure(Path(folder)))


async def _measure(folder: Path) -> Section:
    found: dict[int, dict[str, list[float]]] = {}
    await _fill(folder / str(QUEUED) / "data", QUEUED)
    servers = {queued: PlatformProcess(folder / str(queued), _settings()) for queued in (0, QUEUED)}
    try:
        last = {}
        for queued, server in servers.items():
            await server.start()
            with closing(server.connect()) as connection:
                if not queued:
                    await submit(connection, "occupies the only slot")
                await until(lambda server=server: any((server.data / "files/work").glob("*/image_url.png")))
                last[queued] = await submit(connection, "the last")
            found[queued] = {"": [], "?logs=1": []}
        for _ in range(ROUNDS):
            for queued, server in servers.items():
                for query, latencies in found[queued].items():
                    latencies += await _round(server, last[queued], query)
    finally:
        for server in servers.values():
            if server.alive:
                await server.kill()
    rows = []
    for query, name in (("", "without logs"), ("?logs=1", "with logs")):
        for queued in (0, QUEUED):
            rows.append((f"{queued:,} ahead in the queue, {name}", _told(found[queued][query])))
        ratio = _p99(found[QUEUED][query]) / _p99(found[0][query])
        rows.append((f"p99 of the long queue to the empty one's, {name}", f"{ratio:.2f} (goal <= 2)"))
    return Section(title="status polls", method=METHOD, rows=rows)


def _settings() -> dict[str, object]:
    return {"mock_slots": 1, "mock_seconds": 86400}


async def _fill(data: Path, count: int) -> None:
    """Requests on the disk, as a server that was stopped leaves them."""
    store = await SqliteStore.open(data / "stillmotion.db")
    body = tiny_request("one of many").decode()
    try:
        for start in range(0, count, 1000):
            await asyncio.gather(
                *(
                    store.write(transitions.submit(_new(body), now=time.time()))
                    for _ in range(start, min(start + 1000, count))
                )
            )
    finally:
        await store.close()


def _new(body: str) -> NewRequest:
    return NewRequest(
        id=str(uuid.uuid4()),
        tenant="local",
        app=ENDPOINT.rpartition("/")[0],
        endpoint=ENDPOINT,
        origin="queue",
        input=body,
        max_attempts=3,
    )


async def _round(server: PlatformProcess, id: str, query: str) -> list[float]:
    end = time.perf_counter() + SECONDS
    churn = asyncio.create_task(_churn(server, end))
    each = await asyncio.gather(*(_poll(server.connect(), id, query, end) for _ in range(MANY)))
    await churn
    return [seconds for found in each for seconds in found]


async def _poll(connection: Connection, id: str, query: str, end: float) -> list[float]:
    with closing(connection):
        await connection.open()
        found = []
        while (began := time.perf_counter()) < end:
            answer = await connection.ask("GET", f"{REQUESTS}/{id}/status{query}")
            found.append(time.perf_counter() - began)
            assert answer.status == 202, answer
            assert answer.json()["queue_position"] is not None
        return found


async def _churn(server: PlatformProcess, end: float) -> None:
    with closing(server.connect()) as connection:
        while time.perf_counter() < end:
            id = await submit(connection, "comes and goes")
            assert (await connection.ask("PUT", f"{REQUESTS}/{id}/cancel")).status == 202
            await asyncio.sleep(0.05)


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


def _told(latencies: list[float]) -> str:
    rate = len(latencies) / (ROUNDS * SECONDS)
    return f"{rate:,.0f} polls/s, p50 {statistics.median(latencies) * 1e3:.2f} ms, p99 {_p99(latencies) * 1e3:.2f} ms"
