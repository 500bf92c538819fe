"""A runner that comes too late changes nothing: not the row, not the log, not the files."""

import asyncio
import signal
import sqlite3
from contextlib import closing

import pytest
from crash_snapshot import read_snapshot
from platform_process import platform_process
from tiny_request import status, submit

from stillmotion.store import transitions
from stillmotion.store.records import (
    Beat,
    Error,
    FailedFor,
    LogLine,
    NewRequest,
    StoredFile,
    Succeeded,
    WasCancelled,
)
from stillmotion.store.sqlite import SqliteStore

LOST = Error(kind="runner_disconnected", message="gone")
LINES = (LogLine(at=1.0, level="INFO", message="too late"),)
FILE = StoredFile(name="late.mp4", content_type="video/mp4", size=1)
SUCCEEDED = Succeeded(output="{}", files=(FILE,), model="late", inference_seconds=1.0)


def claim(lease):
    return transitions.claim(lease, now=1.0, expires=2.0)


async def recovered(store, fence):
    await store.write(transitions.recover(now=2.0, before=float("inf"), failure=LOST))


async def recovered_and_claimed_again(store, fence):
    await recovered(store, fence)
    assert (await store.write(claim("second"))).fence.attempt == 2


async def recovered_and_made_by_another(store, fence):
    await recovered(store, fence)
    second = await store.write(claim("second"))
    file = StoredFile(name="made.mp4", content_type="video/mp4", size=1)
    made = Succeeded(output='{"made": 1}', files=(file,), model="m", inference_seconds=1.0)
    assert await store.write(transitions.settle(second.fence, made, now=3.0))


async def recovered_for_the_last_time(store, fence):
    await recovered(store, fence)
    for lease in ("second", "third"):
        await store.write(claim(lease))
        await recovered(store, fence)
    assert (await store.read(transitions.get(fence.id))).state == "failed"


async def given_back(store, fence):
    assert await store.write(transitions.release(fence, now=2.0, failure=LOST, counted=False)) == "queued"


async def given_back_and_claimed_with_the_same_number(store, fence):
    """A refunded attempt is numbered as before: only the lease tells the two runners apart."""
    await given_back(store, fence)
    assert (await store.write(claim("second"))).fence.attempt == fence.attempt


async def settled(store, fence):
    assert await store.write(transitions.settle(fence, WasCancelled(), now=2.0))


LATE = {
    "settle as done": (lambda fence: transitions.settle(fence, SUCCEEDED, now=9.0, lines=LINES), False),
    "settle as failed": (lambda fence: transitions.settle(fence, FailedFor(error=LOST), now=9.0, lines=LINES), False),
    "settle as cancelled": (lambda fence: transitions.settle(fence, WasCancelled(), now=9.0, lines=LINES), False),
    "append to the log": (lambda fence: transitions.append_logs(fence, LINES), False),
    "beat": (lambda fence: transitions.beat(fence, expires=99.0), Beat(held=False, cancel_requested=False)),
    "release, counted": (
        lambda fence: transitions.release(fence, now=9.0, failure=LOST, counted=True, lines=LINES),
        None,
    ),
    "release, uncounted": (
        lambda fence: transitions.release(fence, now=9.0, failure=LOST, counted=False, lines=LINES),
        None,
    ),
}


@pytest.mark.parametrize(
    "lose",
    [
        recovered,
        recovered_and_claimed_again,
        recovered_and_made_by_another,
        recovered_for_the_last_time,
        given_back,
        given_back_and_claimed_with_the_same_number,
        settled,
    ],
    ids=lambda lose: lose.__name__,
)
async def test_every_late_write_is_refused(tmp_path, lose):
    store = await SqliteStore.open(tmp_path / "db")
    try:
        new = NewRequest(id="r", tenant="t", app="a/b", endpoint="a/b/c", origin="queue", input="{}", max_attempts=3)
        await store.write(transitions.submit(new, now=0.0))
        fence = (await store.write(claim("first"))).fence
        assert (await store.write(transitions.beat(fence, expires=3.0))).held
        await lose(store, fence)
        before = contents(tmp_path / "db")
        for name, (write, refusal) in LATE.items():
            assert await store.write(write(fence)) == refusal, name
            assert contents(tmp_path / "db") == before, name
    finally:
        await store.close()


def contents(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


async def test_a_server_that_was_frozen_beyond_its_leases_goes_on(tmp_path):
    """SIGSTOP for longer than a lease: the server recovers its own requests while their attempts still run.

    Each video is made once all the same, and every slot serves afterwards.
    """
    settings = {"mock_slots": 3, "mock_seconds": 1.0, "lease_seconds": 0.4, "heartbeat_seconds": 0.3}
    async with platform_process(tmp_path, **settings, max_attempts=1000) as server:
        with closing(server.connect()) as connection:
            first = await submit(connection, "frozen")
            for _ in range(5):
                await asyncio.sleep(0.2)
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(0.5)
                server.signal(signal.SIGCONT)
            ids = [first] + [await submit(connection, f"request {number}") for number in range(4)]
            await until_statuses(connection, ids, lambda found: found.count("IN_PROGRESS") == 3)
            await until_statuses(connection, ids, lambda found: found.count("COMPLETED") == 5)
        server.terminate()
        assert await server.ended() == 0
        log = server.log.read_text()
        assert "request recovered" in log, "the server was never late: this run has shown nothing"
        assert '"level": "error"' not in log
        assert "Traceback" not in log
        snapshot = read_snapshot(server.data)
        assert {snapshot.rows[id].state for id in ids} == {"done"}
        for role in ("output", "poster"):
            assert sorted(file.request_id for file in snapshot.files.values() if file.role == role) == sorted(ids)
        assert not snapshot.orphans
        assert not snapshot.scratch


async def until_statuses(connection, ids, condition):
    async with asyncio.timeout(30):
        while not condition([(await status(connection, id))["status"] for id in ids]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
