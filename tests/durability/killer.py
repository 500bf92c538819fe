"""Kills the real server, again and again, while clients use it, and proves that nothing it promised was broken.

As a program: ``python tests/durability/killer.py --kills 200`` prints a report as JSON, and progress on stderr.
"""

import argparse
import asyncio
import dataclasses
import json
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash_snapshot import STATES, Snapshot, blobs, read_snapshot, scratch, states_hit
from history import History, Submit, violations
from http_wire import Answer, Connection, Lost, Unsent
from platform_process import PlatformProcess, until
from tiny_request import REQUESTS, SUBMIT, picture_uri, tiny_request

SLOTS = 8
USERS = 16
"""Each has one request under way. At most ``SLOTS`` run, so the others wait and the load never falls below them."""
LEAST_IN_FLIGHT = 8
PATIENCE = 60.0  # seconds; a bound for hangs, not an expectation
POLL_SECONDS = 0.1  # as fal's Python client does
SETTINGS = {
    "mock_slots": SLOTS,
    "mock_seconds": 0.1,
    # Each kill costs the running requests an attempt, and here a request may meet many.
    "max_attempts": 1000,
}

Way = str
WAYS: dict[Way, int] = {"at any time": 7, "burst of submits": 7, "a file is done": 7, "while starting": 3}
"""Ways to choose the moment, with their weights. Windows of a few milliseconds are not met by chance: the second aims
at the one between a submit's commit and its answer, the third at the one between a file and its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    way: Way
    snapshot: Snapshot
    in_flight: int
    """Requests without an end, submits without a row included."""
    hit: Counter[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    seed: int
    kills: int
    seconds: float
    accepted: int
    lost_and_stored: int
    """Submits that got no answer and were found on disk."""
    lost_and_absent: int
    requests: int
    most_attempts: int
    least_in_flight: int
    ways: dict[Way, int]
    states: dict[str, tuple[int, int]]
    """By state: kills that met at least one request in it, and requests in all."""
    violations: list[str]


class Killer:
    """One run of ``kills`` kills on a data directory in ``folder``."""

    def __init__(
        self, folder: Path, seed: int, kills: int, progress: Callable[[str], None] = lambda line: None
    ) -> None:
        self._server = PlatformProcess(folder, SETTINGS)
        self._random = random.Random(seed)
        self._seed = seed
        self._wanted = kills
        self._progress = progress
        self._history = History()
        self._kills: list[Kill] = []
        self._leftovers: list[str] = []
        self._open: set[str] = set()
        """Requests of users that they have not seen end."""
        self._up = asyncio.Event()
        self._closing = False
        self._picture = picture_uri()

    async def run(self) -> Report:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE * (2 + self._wanted)), asyncio.TaskGroup() as users:
                for _ in range(USERS):
                    users.create_task(self._use())
                for number in range(self._wanted):
                    await self._live_and_die(users)
                    self._progress(f"kill {number + 1} of {self._wanted}: {self._kills[-1].way}")
                self._closing = True
                await self._start()
            await self._read_everything()
            self._server.terminate()
            status = await self._server.ended()
        finally:
            if self._server.alive:
                await self._server.kill()
        return self._report(read_snapshot(self._server.data), status, time.monotonic() - began)

    async def _live_and_die(self, users: asyncio.TaskGroup) -> None:
        (way,) = self._random.choices(list(WAYS), list(WAYS.values())) if self._kills else ["at any time"]
        if way == "while starting":
            await self._server.launch()
            await asyncio.sleep(self._random.uniform(0.1, 1.2))
        else:
            await self._start()
            await self._until_busy()
            await self._lurk(way, users)
        self._up.clear()
        await self._server.kill()
        snapshot = await asyncio.to_thread(read_snapshot, self._server.data)
        lost = await self._lost()
        absent = len(set(lost) - {row.token for row in snapshot.rows.values()})
        in_flight = snapshot.unfinished + absent
        hit = states_hit(snapshot, lost, self._kills[-1].snapshot if self._kills else None)
        self._kills.append(Kill(way=way, snapshot=snapshot, in_flight=in_flight, hit=hit))

    async def _start(self) -> None:
        await self._server.start()
        if self._kills:
            before = self._kills[-1].snapshot
            left = before.orphans & blobs(self._server.data).keys()
            # An attempt number is used once, so a folder of the same name is the old one.
            left |= before.scratch.keys() & scratch(self._server.data).keys()
            self._leftovers += [f"{name}: left behind by kill {len(self._kills)}, still there" for name in left]
        self._up.set()

    async def _until_busy(self) -> None:
        await until(lambda: len(self._open) >= USERS - 2)

    async def _lurk(self, way: Way, users: asyncio.TaskGroup) -> None:
        """Returns in the moment in which to kill."""
        if way == "burst of submits":
            await asyncio.sleep(self._random.uniform(0, 0.5))
            await self._burst(users)
            await asyncio.sleep(self._random.uniform(0, 0.02))
        elif way == "a file is done":
            await self._until_a_file_is_done()
            await asyncio.sleep(self._random.uniform(0, 0.004))
        else:
            await asyncio.sleep(self._random.uniform(0, 1.0))

    async def _burst(self, users: asyncio.TaskGroup) -> None:
        """Sends some submits at once on connections that stand, and does not wait for the answers."""
        connections = [self._server.connect() for _ in range(self._random.randint(2, 6))]
        for connection in connections:
            await connection.open()
        for connection in connections:
            submit = self._new_submit()
            await connection.send("POST", SUBMIT, submit.body)
            users.create_task(self._finish_burst(connection, submit))

    async def _finish_burst(self, connection: Connection, submit: Submit) -> None:
        with closing(connection):
            try:
                _note(submit, await connection.receive())
            except Lost:
                submit.fate = "lost"

    async def _until_a_file_is_done(self) -> None:
        """An attempt's output leaves its scratch folder when it is moved in among the blobs."""
        work = self._server.data / "files/work"
        seen: set[Path] = set()

        def one_has_left() -> bool:
            there = set(work.glob("*/output.mp4"))
            left = bool(seen - there)
            seen.update(there)
            return left

        await until(one_has_left, pause=0.001)

    async def _lost(self) -> list[str]:
        """Tokens of the submits that this kill left without an answer, once every connection has noticed."""
        await until(lambda: not self._history.with_fate("under way"))
        return self._history.lost_in(len(self._kills))

    async def _use(self) -> None:
        """One user: a request after another, each followed to its end and read."""
        with closing(self._server.connect()) as connection:
            while True:
                await self._up.wait()
                if self._closing:
                    return
                submit = self._new_submit()
                try:
                    _note(submit, await connection.ask("POST", SUBMIT, submit.body))
                except Unsent:
                    submit.fate = "unsent"
                except Lost:
                    submit.fate = "lost"
                if submit.id:
                    self._open.add(submit.id)
                    await self._follow(connection, submit.id)

    async def _follow(self, connection: Connection, id: str) -> None:
        target = f"{REQUESTS}/{id}"
        while True:
            answer = await self._get(connection, f"{target}/status")
            ended = self._history.saw_status(id, answer.status, answer.body)
            if ended or answer.status == 404:
                break
            await asyncio.sleep(POLL_SECONDS)
        self._open.discard(id)
        if not ended:  # unknown to the server, which the checks will tell
            return
        result = await self._get(connection, target)
        self._history.saw_result(id, result.status, result.body)
        if result.status == 200:
            file = await self._get(connection, "/files/" + result.json()["video"]["file_name"])
            self._history.saw_file(id, file.status, file.body)

    async def _get(self, connection: Connection, target: str) -> Answer:
        """Reads may be repeated: asks until a living server answers."""
        while True:
            await self._up.wait()
            try:
                return await connection.ask("GET", target)
            except (Unsent, Lost):
                await asyncio.sleep(0.01)

    async def _read_everything(self) -> None:
        """Follows every request that anybody may have made to its end, and reads again what was read before."""
        ids = {submit.id for submit in self._history.with_fate("accepted") if submit.id}
        if self._kills:
            ids |= self._kills[-1].snapshot.rows.keys()
        left = sorted(ids)

        async def read() -> None:
            with closing(self._server.connect()) as connection:
                while left:
                    await self._follow(connection, left.pop())

        async with asyncio.timeout(PATIENCE + 0.5 * len(left)), asyncio.TaskGroup() as readers:
            for _ in range(4):
                readers.create_task(read())

    def _new_submit(self) -> Submit:
        token = f"request {len(self._history.submits)}"
        body = tiny_request(token, self._picture)
        return self._history.begin(token, body, len(self._kills))

    def _report(self, end: Snapshot, status: int, seconds: float) -> Report:
        found = violations(self._history, [kill.snapshot for kill in self._kills], end) + self._leftovers
        if status != 0:
            found.append(f"the last stop ended with status {status}")
        faults = [line for line in self._server.log.read_text().splitlines() if _tells_of_a_fault(line)]
        found += [f"the server's log: {line}" for line in faults]
        stored = {row.token for row in end.rows.values()}
        lost = [submit.token in stored for submit in self._history.with_fate("lost")]
        hit = sum((kill.hit for kill in self._kills), Counter[str]())
        return Report(
            seed=self._seed,
            kills=len(self._kills),
            seconds=round(seconds, 1),
            accepted=len(self._history.with_fate("accepted")),
            lost_and_stored=lost.count(True),
            lost_and_absent=lost.count(False),
            requests=len(end.rows),
            most_attempts=max(row.attempt for row in end.rows.values()),
            least_in_flight=min(kill.in_flight for kill in self._kills),
            ways=dict(Counter(kill.way for kill in self._kills)),
            states={state: (sum(state in kill.hit for kill in self._kills), hit[state]) for state in STATES},
            violations=found,
        )


def _note(submit: Submit, answer: Answer) -> None:
    submit.fate = "accepted" if answer.status == 200 else "refused"
    submit.id = answer.json()["request_id"] if answer.status == 200 else None


def _tells_of_a_fault(line: str) -> bool:
    return "Traceback" in line or '"level": "error"' in line


async def run_kills(folder: Path, seed: int, kills: int, progress: Callable[[str], None] = lambda line: None) -> Report:
    return await Killer(folder, seed, kills, progress).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the moments (default: a new one)")
    options: Any = parser.parse_args()

    def progress(line: str) -> None:
        sys.stderr.write(line + "\n")

    with tempfile.TemporaryDirectory(prefix="stillmotion-kills-") as folder:
        report = asyncio.run(run_kills(Path(folder), options.seed, options.kills, progress))
    sys.stdout.write(json.dumps(dataclasses.asdict(report), indent=2) + "\n")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
