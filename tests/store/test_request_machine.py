"""The state machine of requests against a model of a few lines, with the process dying between any two steps."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stillmotion.store import listings, transitions
from stillmotion.store.records import (
    TERMINAL,
    Charge,
    Error,
    FailedFor,
    Fence,
    LogLine,
    NewRequest,
    Payload,
    StoredFile,
    Succeeded,
    WasCancelled,
)
from stillmotion.store.sqlite import SqliteStore

GONE = Error(kind="engine_lost", message="gone")
LEASE = 10.0
PICK = st.integers(0, 3)
CHARGES = st.sampled_from(
    [
        None,
        Charge(quantity=Decimal(112), unit="megapixels", unit_price=Decimal("0.0018"), cost=Decimal("0.2016")),
        Charge(quantity=Decimal("111.5136"), unit="megapixels", unit_price=Decimal("0.001805"), cost=Decimal("0.2013")),
    ]
)


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
    tenant: str = "t"
    endpoint: str = "a/b/c"
    ended: float | None = None
    kind: str = ""
    charge: Charge | None = None
    gpu_seconds: float | None = None
    ephemeral: bool = False
    forget_at: float | None = None
    files: list[str] = field(default_factory=list)
    deleted: bool = False

    def end(self, state: str, now: float, kind: str = "") -> None:
        self.state, self.lease, self.ended, self.kind = state, None, now, kind

    def give_back(self, attempt: int, now: float) -> None:
        self.lease, self.attempt = None, attempt
        if self.cancel_requested:
            self.end("cancelled", now, "client_cancelled")
        elif attempt >= self.max_attempts:
            self.end("failed", now, GONE.kind)
        else:
            self.state = "queued"


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
        number = next(self.numbers)
        id, tenant, endpoint = f"request-{number}", "tu"[number % 3 == 0], f"a/b/{'cd'[number % 2]}"
        new = NewRequest(
            id=id,
            tenant=tenant,
            app="a/b",
            endpoint=endpoint,
            origin=origin,
            input=f'{{"n": "{id}"}}',
            max_attempts=max_attempts,
        )
        error = Error(kind="invalid_input", message="no") if faulty else None
        self.write(transitions.submit(new, now=self.now, error=error))
        found = Expected(max_attempts=max_attempts, origin=origin, tenant=tenant, endpoint=endpoint)
        if faulty:
            found.end("failed", self.now, "invalid_input")
        self.expected[id] = found

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

    @rule(
        pick=PICK,
        how=st.sampled_from(["done", "done", "failed", "cancelled"]),
        charge=CHARGES,
        seconds=st.sampled_from([None, 0.5, 2.25]),
        private=st.booleans(),
        ephemeral=st.booleans(),
    )
    def settle(self, pick, how, charge, seconds, private, ephemeral):
        fence = self.fence(pick)
        output = f'"{fence.lease}"'
        file = StoredFile(name=f"file-{next(self.numbers)}", content_type="video/mp4", size=1)
        # A request whose payload is not to be kept has a time without being for one reader only; never the reverse.
        forget_at = self.now + 5.0 if private or ephemeral else None
        outcome = {
            "done": Succeeded(
                output=output,
                files=(file,),
                model="m",
                inference_seconds=1.0,
                charge=charge,
                ephemeral=ephemeral,
                forget_at=forget_at,
            ),
            "failed": FailedFor(error=Error(kind="engine_error", message="broke")),
            "cancelled": WasCancelled(),
        }[how]
        found = self.holder(fence)
        settled = self.write(transitions.settle(fence, outcome, now=self.now, gpu_seconds=seconds))
        assert settled == (found is not None)
        if found:
            found.end(how, self.now, {"done": "", "failed": "engine_error", "cancelled": "client_cancelled"}[how])
            found.gpu_seconds = seconds
        if found and how == "done":
            found.output, found.charge, found.files = output, charge, [file.name]
            found.forget_at, found.ephemeral = forget_at, ephemeral
        assert (self.read(transitions.get_file(file.name)) is not None) == (found is not None and how == "done")

    @rule(pick=PICK)
    def read_once(self, pick):
        """The one reader of an output has had it, or another has in the meantime."""
        id = list(self.expected)[-1 - pick % len(self.expected)]
        found = self.expected[id]
        if found.state in TERMINAL and found.ephemeral:
            self.forget(id)

    @rule()
    def forget_what_nobody_read(self):
        due = self.read(transitions.due(now=self.now, most=100))
        overdue = [id for id, found in self.expected.items() if found.forget_at and found.forget_at <= self.now]
        assert sorted(due) == sorted(overdue)
        for id in due:
            self.forget(id)
        assert self.read(transitions.due(now=self.now, most=100)) == []

    def forget(self, id):
        found = self.expected[id]
        # The file of a request whose payload is not kept is no payload: it stays.
        files = found.files if found.ephemeral else []
        assert self.write(transitions.forget_output(id)) == files
        found.output, found.forget_at = None, None
        found.files = [name for name in found.files if name not in files]

    @rule(pick=PICK, stranger=st.booleans())
    def delete_payloads(self, pick, stranger):
        id = list(self.expected)[-1 - pick % len(self.expected)]
        found = self.expected[id]
        tenant = "stranger" if stranger else found.tenant
        state, names = self.write(transitions.delete_payloads(tenant, id))
        if stranger:
            assert (state, names) == (None, [])
            return
        assert state == found.state
        if state in TERMINAL:
            assert names == [(name, None) for name in found.files]
            found.output, found.files, found.forget_at, found.deleted = None, [], None, True
        else:
            assert names == []

    @rule(tenant=st.sampled_from("tu"), slot=st.sampled_from([1.0, 60.0]))
    def add_up_what_was_used(self, tenant, slot):
        rows = self.read(listings.used(tenant, ["a/b/c", "a/b/d"], start=0, end=self.now, slot_seconds=slot))
        done = [found for found in self.expected.values() if found.state == "done"]
        meant = [found for found in done if found.tenant == tenant and found.ended < self.now]
        assert sum(row.requests for row in rows) == len(meant)
        priced = [found.charge for found in meant if found.charge]
        assert sum(row.requests * row.charge.cost for row in rows if row.charge) == sum(c.cost for c in priced)
        assert sum(row.gpu_seconds for row in rows) == sum(found.gpu_seconds or 0 for found in meant)
        assert {row.slot for row in rows} == {found.ended // slot * slot for found in meant}
        for endpoint in ("a/b/c", "a/b/d"):
            charges = self.read(listings.charges(tenant, endpoint))
            costs = [c.charge.cost for c in done if (c.tenant, c.endpoint) == (tenant, endpoint) and c.charge]
            assert sum(count for count, _ in charges) == len(costs)
            assert sum(count * charge.cost for count, charge in charges) == sum(costs)
        everybody = self.read(listings.used_by_all(start=0, slot_seconds=slot))
        assert sum(row.requests for row in everybody) == len(done)

    @rule(pick=PICK, counted=st.booleans())
    def release(self, pick, counted):
        fence = self.fence(pick)
        state = self.write(transitions.release(fence, now=self.now, failure=GONE, counted=counted))
        found = self.holder(fence)
        if found:
            found.give_back(fence.attempt if counted else fence.attempt - 1, self.now)
        assert state == (found.state if found else None)

    @rule(pick=PICK)
    def cancel(self, pick):
        id = list(self.expected)[-1 - pick % len(self.expected)]
        found = self.expected[id]
        assert self.write(transitions.cancel(id, now=self.now)) == found.state
        if found.state == "queued":
            found.end("cancelled", self.now, "client_cancelled")
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
                found.give_back(found.attempt, self.now)
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
            found.end("cancelled", self.now, "client_cancelled")
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
                found.give_back(found.attempt, self.now)
                found.lines.append("the runner of this attempt is gone")
        ended = self.write(transitions.end_orphaned_runs(now=self.now))
        for id, found in self.expected.items():
            if found.state == "queued" and found.origin == "run":
                found.end("cancelled", self.now, "client_disconnected")
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
            assert request.ended_at == (found.ended if found.state in TERMINAL else None)
            assert (request.error.kind if request.error else "") == found.kind
            assert (request.charge, request.gpu_seconds) == (found.charge, found.gpu_seconds)
            assert request.ephemeral == found.ephemeral
            assert all(self.read(transitions.get_file(name)) for name in found.files)
            payload = self.read(listings.get_payload(found.tenant, id))
            assert payload == (None if found.deleted else Payload(input=f'{{"n": "{id}"}}', output=output))
            assert self.read(listings.get_payload("stranger", id)) is None
        assert self.read(transitions.all_files()) == {n for found in self.expected.values() for n in found.files}

    def teardown(self):
        self.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.root)


Requests.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestRequests = Requests.TestCase
