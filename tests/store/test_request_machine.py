"""The state machine of requests against a model of a few lines, with the process dying between any two steps."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stillmotion.store import transitions
from stillmotion.store.records import (
    TERMINAL,
    Error,
    FailedFor,
    Fence,
    LogLine,
    NewRequest,
    StoredFile,
    Succeeded,
    WasCancelled,
)
from stillmotion.store.sqlite import SqliteStore

GONE = Error(kind="engine_lost", message="gone")
LEASE = 10.0
PICK = st.integers(0, 3)


@dataclass
class Expected:
    """What a request must be, told in the simplest way."""

    state: str = "queued"
    attempt: int = 0
    max_attempts: int = 3
    origin: str = "queue"
    lease: str | None = None
    expires: float = 0.0
    cancel_requested: bool = False
    output: str | None = None
    lines: list[str] = field(default_factory=list)

    def give_back(self, attempt: int) -> None:
        self.lease, self.attempt = None, attempt
        if self.cancel_requested:
            self.state = "cancelled"
        else:
            self.state = "failed" if attempt >= self.max_attempts else "queued"


class Requests(RuleBasedStateMachine):
    """Rules are the transitions; time is a number that only the machine moves.

    A rule uses one of the four newest fences, void ones included: late runners are what fencing is about.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.boots = count()
        self.now = 1000.0
        self.numbers = count()
        self.expected: dict[str, Expected] = {}
        self.fences = [Fence(id="absent", lease="none", attempt=1)]
        self.store = self.run(SqliteStore.open(self.folder() / "db"))

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def write(self, transaction):
        return self.run(self.store.write(transaction))

    def read(self, transaction):
        return self.run(self.store.read(transaction))

    def folder(self) -> Path:
        self.path = self.root / str(next(self.boots))
        self.path.mkdir()
        return self.path

    def holder(self, fence: Fence) -> Expected | None:
        found = self.expected.get(fence.id)
        held = found and found.state == "running" and (found.lease, found.attempt) == (fence.lease, fence.attempt)
        return found if held else None

    def fence(self, pick: int) -> Fence:
        return self.fences[-1 - pick % len(self.fences)]

    @initialize(attempts=st.integers(2, 4))
    def begin(self, attempts):
        assert self.write(transitions.recover(now=self.now, before=float("inf"), failure=GONE)) == []
        self.submit(attempts, "queue", False)
        self.claim()

    @rule(max_attempts=st.integers(1, 4), origin=st.sampled_from(["queue", "queue", "run"]), faulty=st.just(False))
    def submit(self, max_attempts, origin, faulty):
        id = f"request-{next(self.numbers)}"
        new = NewRequest(
            id=id,
            tenant="t",
            app="a/b",
            endpoint="a/b/c",
            origin=origin,
            input=f'{{"n": "{id}"}}',
            max_attempts=max_attempts,
        )
        error = Error(kind="invalid_input", message="no") if faulty else None
        self.write(transitions.submit(new, now=self.now, error=error))
        state = "failed" if faulty else "queued"
        self.expected[id] = Expected(state=state, max_attempts=max_attempts, origin=origin)

    @rule(origin=st.sampled_from(["queue", "run"]))
    def submit_what_can_never_run(self, origin):
        self.submit(1, origin, True)

    @rule()
    def claim(self):
        lease = f"lease-{next(self.numbers)}"
        claim = self.write(transitions.claim(lease, now=self.now, expires=self.now + LEASE))
        waiting = [id for id, found in self.expected.items() if found.state == "queued"]
        if claim is None:
            assert waiting == []
            return
        assert claim.fence.id == waiting[0], "the longest waiting comes first"
        assert claim.input == f'{{"n": "{claim.fence.id}"}}'
        found = self.expected[claim.fence.id]
        found.state, found.lease, found.expires = "running", lease, self.now + LEASE
        found.attempt += 1
        assert claim.fence.attempt == found.attempt <= found.max_attempts
        self.fences.append(claim.fence)

    @rule(pick=PICK)
    def beat(self, pick):
        fence = self.fence(pick)
        beat = self.write(transitions.beat(fence, expires=self.now + LEASE))
        found = self.holder(fence)
        assert beat.held == (found is not None)
        if found:
            found.expires = self.now + LEASE
            assert beat.cancel_requested == found.cancel_requested

    @rule(pick=PICK, text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
    def append_log(self, pick, text):
        fence = self.fence(pick)
        held = self.write(transitions.append_logs(fence, [LogLine(at=self.now, level="INFO", message=text)]))
        found = self.holder(fence)
        assert held == (found is not None)
        if found:
            found.lines.append(text)

    @rule(pick=PICK, how=st.sampled_from(["done", "failed", "cancelled"]))
    def settle(self, pick, how):
        fence = self.fence(pick)
        output = f'"{fence.lease}"'
        file = StoredFile(name=f"file-{next(self.numbers)}", content_type="video/mp4", size=1)
        outcome = {
            "done": Succeeded(output=output, files=(file,), model="m", inference_seconds=1.0),
            "failed": FailedFor(error=Error(kind="engine_error", message="broke")),
            "cancelled": WasCancelled(),
        }[how]
        found = self.holder(fence)
        assert self.write(transitions.settle(fence, outcome, now=self.now)) == (found is not None)
        if found:
            found.state, found.lease = how, None
            found.output = output if how == "done" else None
        assert (self.read(transitions.get_file(file.name)) is not None) == (found is not None and how == "done")

    @rule(pick=PICK, counted=st.booleans())
    def release(self, pick, counted):
        fence = self.fence(pick)
        state = self.write(transitions.release(fence, now=self.now, failure=GONE, counted=counted))
        found = self.holder(fence)
        if found:
            found.give_back(fence.attempt if counted else fence.attempt - 1)
        assert state == (found.state if found else None)

    @rule(pick=PICK)
    def cancel(self, pick):
        id = list(self.expected)[-1 - pick % len(self.expected)]
        found = self.expected[id]
        assert self.write(transitions.cancel(id, now=self.now)) == found.state
        if found.state == "queued":
            found.state = "cancelled"
            found.cancel_requested = True
        elif found.state == "running":
            found.cancel_requested = True

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def recover(self):
        recovered = dict(self.write(transitions.recover(now=self.now, before=self.now, failure=GONE)))
        for id, found in self.expected.items():
            if found.state == "running" and found.expires < self.now:
                found.give_back(found.attempt)
                found.lines.append("the runner of this attempt is gone")
                assert recovered.pop(id) == found.state
        assert recovered == {}

    @rule(pick=PICK, steps=st.integers(1, 3))
    def die_inside_a_transaction(self, pick, steps):
        """Some statements of a settle ran, the commit never did: nothing of it may be seen after the restart."""
        fence = self.fence(pick)
        outcome = Succeeded(output='"half"', files=(), model="m", inference_seconds=1.0)
        transaction = transitions.settle(
            fence, outcome, now=self.now, lines=[LogLine(at=0, level="INFO", message="half")]
        )

        def halfway():
            rows = None
            for _ in range(steps):
                try:
                    step = next(transaction) if rows is None else transaction.send(rows)
                except StopIteration:
                    break
                rows = yield step
            raise RuntimeError("the process dies here")

        try:
            self.write(halfway())
        except RuntimeError:
            self.restart()

    @rule(pick=PICK)
    def die_after_a_commit(self, pick):
        """The writer committed, nobody was told: the answer is lost with the fence, the state is not."""
        lost = self.fence(pick)
        found = self.holder(lost)
        if found:
            self.write(transitions.settle(lost, WasCancelled(), now=self.now))
            found.state, found.lease = "cancelled", None
        self.restart()

    @rule()
    def restart(self):
        """What the disk holds at this instant is what the next process finds; the old one is never heard of again."""
        before = self.path
        after = self.folder()
        for name in ("db", "db-wal"):
            if (before / name).exists():
                shutil.copyfile(before / name, after / name)
        old, self.store = self.store, self.run(SqliteStore.open(after / "db"))
        self.run(old.close())
        assert self.run(self.store.recovery_deadline()) == float("inf")
        self.write(transitions.recover(now=self.now, before=float("inf"), failure=GONE))
        for found in self.expected.values():
            if found.state == "running":
                found.give_back(found.attempt)
                found.lines.append("the runner of this attempt is gone")
        ended = self.write(transitions.end_orphaned_runs(now=self.now))
        for id, found in self.expected.items():
            if found.state == "queued" and found.origin == "run":
                found.state = "cancelled"
                ended.remove(id)
        assert ended == []

    @invariant()
    def the_store_agrees(self):
        for id, found in self.expected.items():
            request = self.read(transitions.get(id))
            assert (request.state, request.attempt) == (found.state, found.attempt)
            assert request.cancel_requested == found.cancel_requested
            assert [line.message for line in self.read(transitions.get_logs(id))] == found.lines
            output = self.read(transitions.get_output(id))
            assert output == found.output
            assert (request.ended_at is not None) == (found.state in TERMINAL)
            assert (request.error is not None) == (found.state in {"failed", "cancelled"})

    def teardown(self):
        self.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.root)


Requests.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestRequests = Requests.TestCase
