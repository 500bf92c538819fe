"""Stopping on purpose: what runs may finish, what cannot finish is given back, and a second signal does not wait."""

import asyncio
import json
from contextlib import closing

import pytest
from crash_snapshot import read_snapshot
from platform_process import platform_process, until
from tiny_request import REQUESTS, RUN, SUBMIT, status, submit, tiny_request

FOREVER = 600  # seconds; longer than any patience here


async def completed(connection, id):
    """The status of a request that has ended."""
    async with asyncio.timeout(30):
        while (found := await status(connection, id))["status"] != "COMPLETED":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def computing(connection, id):
    """Returns when the engine has begun with the request."""
    async with asyncio.timeout(30):
        while not any("mock engine" in line["message"] for line in (await status(connection, id))["logs"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def stopping(connection):
    """Returns when the server says that it takes nothing more."""
    async with asyncio.timeout(30):
        while (answer := await connection.ask("GET", "/health/ready")).status == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert answer.status == 503


def rows(server):
    """State and counted attempts by id."""
    return {id: (row.state, row.attempt) for id, row in read_snapshot(server.data).rows.items()}


async def test_running_requests_finish_and_waiting_ones_stay(tmp_path):
    async with platform_process(tmp_path, mock_slots=2, mock_seconds=1.0, drain_seconds=FOREVER) as server:
        with closing(server.connect()) as connection:
            running, waiting = (
                [await submit(connection, "a cat") for _ in range(2)],
                [await submit(connection, "a cat")],
            )
            for id in running:
                await computing(connection, id)
            server.terminate()
            # Refused before anything is stored, while the connection and reads still work.
            await stopping(connection)
            refused = await connection.ask("POST", SUBMIT, tiny_request("too late"))
            assert refused.status == 503
            assert (await status(connection, waiting[0]))["status"] == "IN_QUEUE"
        assert await server.ended() == 0
        assert rows(server) == {running[0]: ("done", 1), running[1]: ("done", 1), waiting[0]: ("queued", 0)}
        await server.start()
        with closing(server.connect()) as connection:
            assert "error" not in await completed(connection, waiting[0])


async def test_a_run_that_finishes_in_time_is_answered(tmp_path):
    async with platform_process(tmp_path, mock_slots=1, mock_seconds=0.7, drain_seconds=FOREVER) as server:
        with closing(server.connect()) as connection:
            await connection.send("POST", RUN, tiny_request("a cat"))
            await until(lambda: any((server.data / "files/work").glob("*/image_url.png")))
            server.terminate()
            answer = await connection.receive()
        assert answer.status == 200
        assert await server.ended() == 0
        (blob,) = (name for name, file in read_snapshot(server.data).files.items() if file.role == "output")
        assert answer.json()["video"]["file_name"] == blob


async def test_what_cannot_finish_is_given_back_uncounted(tmp_path):
    async with platform_process(tmp_path, mock_slots=2, mock_seconds=FOREVER, drain_seconds=0.3) as server:
        with closing(server.connect()) as connection:
            ids = [await submit(connection, "a cat") for _ in range(3)]
            for id in ids[:2]:
                await computing(connection, id)
        server.terminate()
        assert await server.ended() == 0
        snapshot = read_snapshot(server.data)
        assert rows(server) == dict.fromkeys(ids, ("queued", 0))
        assert not snapshot.blobs
        assert not snapshot.scratch
        server.settings["mock_seconds"] = 0
        await server.start()
        with closing(server.connect()) as connection:
            for id in ids:
                found = await completed(connection, id)
                assert "error" not in found
        await server.kill()
        assert rows(server) == dict.fromkeys(ids, ("done", 1))


async def test_a_second_signal_does_not_wait(tmp_path):
    async with platform_process(tmp_path, mock_slots=1, mock_seconds=FOREVER, drain_seconds=FOREVER) as server:
        with closing(server.connect()) as connection:
            id = await submit(connection, "a cat")
            await computing(connection, id)
            server.terminate()
            await stopping(connection)
        server.terminate()
        assert await server.ended() == 0
        assert rows(server) == {id: ("queued", 0)}
        assert not read_snapshot(server.data).scratch


@pytest.mark.parametrize("place", ["running", "queued"])
async def test_a_run_ends_with_the_server_that_held_its_connection(tmp_path, place):
    async with platform_process(tmp_path, mock_slots=1, mock_seconds=FOREVER) as server:
        with closing(server.connect()) as runner, closing(server.connect()) as connection:
            before = await submit(connection, "a cat") if place == "queued" else None
            if before:
                await computing(connection, before)
            await runner.send("POST", RUN, tiny_request("nobody waits"))
            await until(lambda: place_of(server, "nobody waits") == place)
            await server.kill()
        (id,) = [id for id, row in read_snapshot(server.data).rows.items() if row.token == "nobody waits"]
        server.settings["mock_seconds"] = 0
        await server.start()
        with closing(server.connect()) as connection:
            found = await completed(connection, id)
            assert found["error_type"] == "client_disconnected"
            result = await connection.ask("GET", f"{REQUESTS}/{id}")
            assert result.status >= 400
            # The queue goes on without it.
            for other in [await submit(connection, "a cat"), *([before] if before else [])]:
                assert "error" not in await completed(connection, other)
        await server.kill()
        snapshot = read_snapshot(server.data)
        assert snapshot.rows[id].state == "cancelled"
        assert snapshot.rows[id].attempt == (1 if place == "running" else 0)
        assert json.loads(snapshot.rows[id].error or "")["kind"] == "client_disconnected"
        assert id not in {file.request_id for file in snapshot.files.values()}


def place_of(server, prompt):
    return next((row.state for row in read_snapshot(server.data).rows.values() if row.token == prompt), None)
