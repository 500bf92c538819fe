"""The outbox against a model: due from the very transaction on that ends its request, and never lost afterwards."""

import asyncio
import re
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import Insert, Update

from stillmotion.store import outbox, statements, transitions
from stillmotion.store.records import (
    TERMINAL,
    Delivered,
    Delivery,
    Error,
    FailedFor,
    Fence,
    NewRequest,
    Options,
    Succeeded,
    WasCancelled,
    Webhook,
)
from stillmotion.store.sqlite import SqliteStore

GONE = Error(kind="engine_lost", message="gone")
PICK = st.integers(0, 2)
PER_HOST = 1


def test_every_statement_that_ends_a_request_is_in_the_machine():
    """A transition that is added must make webhooks due as well, and be added to ``ENDINGS`` and the machine."""
    writers = {
        name
        for name, value in vars(statements).items()
        if isinstance(value, Insert | Update)
        and value.table.name == "requests"
        and (isinstance(value, Insert) or re.search(r"\bSET\b.*\bstate=", str(value), re.DOTALL))
    }
    assert writers == {"INSERT_REQUEST", "CLAIM", "SETTLE", "RELEASE", "END_LATE", "END_QUEUED_RUNS", "CANCEL_QUEUED"}


def request(id, *, attempts=1, origin="queue", host="h0", webhook=True, start_within=None):
    return NewRequest(
        id=id,
        tenant="t",
        app="a/b",
        endpoint="a/b/c",
        origin=origin,
        input="{}",
        max_attempts=attempts,
        options=Options(start_within=start_within),
        webhook=Webhook(url=f"http://{host}/", host=host, origin="http://o") if webhook else None,
    )


OUTCOMES = {
    "done": Succeeded(output="{}", files=(), model="m", inference_seconds=1.0),
    "failed": FailedFor(error=GONE),
    "cancelled": WasCancelled(),
}
ENDINGS = {
    "settled as done": lambda id, fence: transitions.settle(fence, OUTCOMES["done"], now=5.0),
    "settled as failed": lambda id, fence: transitions.settle(fence, OUTCOMES["failed"], now=5.0),
    "settled as cancelled": lambda id, fence: transitions.settle(fence, OUTCOMES["cancelled"], now=5.0),
    "released without attempts left": lambda id, fence: transitions.release(fence, now=5.0, failure=GONE, counted=True),
    "lost without attempts left": lambda id, fence: transitions.recover(now=5.0, before=100.0, failure=GONE),
    "cancelled while it waited": lambda id, fence: transitions.cancel(id, now=5.0),
    "too late to start": lambda id, fence: transitions.end_late(now=5.0),
    "left by its connection": lambda id, fence: transitions.end_orphaned_runs(now=5.0),
}
WAITED = {"cancelled while it waited", "too late to start", "left by its connection"}


async def test_every_end_of_a_request_makes_its_webhook_due(tmp_path):
    store = await SqliteStore.open(tmp_path / "db")
    try:
        await store.write(transitions.submit(request("faulty"), now=5.0, error=GONE))
        for id, end in ENDINGS.items():
            await store.write(transitions.submit(request(id, origin="run", start_within=3.0), now=1.0))
            claim = None if id in WAITED else await store.write(transitions.claim("lease", now=2.0, expires=9.0))
            webhook, _ = await store.read(outbox.get("t", id))
            assert (webhook.state, webhook.due_at) == ("waiting", None)
            await store.write(end(id, claim.fence if claim else None))
        for id in ("faulty", *ENDINGS):
            assert (await store.read(transitions.get(id))).state in TERMINAL
            webhook, log = await store.read(outbox.get("t", id))
            assert (webhook.state, webhook.due_at, webhook.attempt, log) == ("pending", 5.0, 0, [])
    finally:
        await store.close()


async def test_an_output_is_not_forgotten_before_its_receiver_has_it(tmp_path):
    store = await SqliteStore.open(tmp_path / "db")
    try:
        await store.write(transitions.submit(request("r"), now=1.0))
        claim = await store.write(transitions.claim("lease", now=2.0, expires=9.0))
        outcome = replace(OUTCOMES["done"], ephemeral=True, forget_at=4.0)
        await store.write(transitions.settle(claim.fence, outcome, now=3.0))
        assert await store.read(transitions.due(now=100.0, most=9)) == []
        (delivery,) = await store.write(outbox.claim(now=5.0, expires=9.0, most=9, per_host=9, busy={}))
        assert await store.read(transitions.due(now=100.0, most=9)) == []
        told = Delivered(attempt=1, at=5.0, seconds=1.0, status=200, error=None)
        assert await store.write(outbox.end(delivery, told, state="delivered"))
        assert await store.read(transitions.due(now=100.0, most=9)) == ["r"]
    finally:
        await store.close()


@dataclass
class Expected:
    webhook: bool
    state: str = "waiting"
    host: str = ""
    log: list[int | str] = field(default_factory=list)


class Outbox(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.store = self.run(SqliteStore.open(self.root / "db"))
        self.numbers = count()
        self.now = 1000.0
        self.expected: dict[str, Expected] = {}
        self.fences: list[Fence] = []
        self.deliveries: list[Delivery] = []
        self.under_way: dict[str, int] = {}
        """Attempt that holds the lease, by request."""

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def write(self, transaction):
        return self.run(self.store.write(transaction))

    def read(self, transaction):
        return self.run(self.store.read(transaction))

    @initialize()
    def begin(self):
        for kind in (0, 0, 5, 5):
            self.submit(True, 1, kind)

    @rule(webhook=st.sampled_from([True, True, False]), attempts=st.integers(1, 2), kind=st.integers(0, 5))
    def submit(self, webhook, attempts, kind):
        number = next(self.numbers)
        id, host = f"r{number}", f"h{number % 3 == 2:d}"
        new = request(
            id,
            attempts=attempts,
            origin="run" if kind == 1 else "queue",
            host=host,
            webhook=webhook,
            start_within=5.0 if kind == 2 else None,
        )
        self.write(transitions.submit(new, now=self.now, error=GONE if kind == 0 else None))
        self.expected[id] = Expected(webhook, host=host)

    @rule()
    def claim(self):
        claim = self.write(transitions.claim(f"lease{next(self.numbers)}", now=self.now, expires=self.now + 10))
        if claim:
            self.fences.append(claim.fence)

    @rule(pick=PICK, how=st.sampled_from(["done", "failed", "cancelled"]))
    def settle(self, pick, how):
        if self.fences:
            self.write(transitions.settle(self.fences[-1 - pick % len(self.fences)], OUTCOMES[how], now=self.now))

    @rule(pick=PICK, counted=st.booleans())
    def release(self, pick, counted):
        if self.fences:
            fence = self.fences[-1 - pick % len(self.fences)]
            self.write(transitions.release(fence, now=self.now, failure=GONE, counted=counted))

    @rule(pick=PICK)
    def cancel(self, pick):
        if self.expected:
            self.write(transitions.cancel(list(self.expected)[-1 - pick % len(self.expected)], now=self.now))

    @rule()
    def recover(self):
        self.write(transitions.recover(now=self.now, before=self.now, failure=GONE))

    @rule()
    def end_late(self):
        self.write(transitions.end_late(now=self.now))

    @rule()
    def end_orphaned_runs(self):
        self.write(transitions.end_orphaned_runs(now=self.now))

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(most=st.integers(1, 4))
    def begin_deliveries(self, most):
        busy = {host: sum(self.expected[id].host == host for id in self.under_way) for host in ("h0", "h1")}
        claimed = self.write(outbox.claim(now=self.now, expires=self.now + 10, most=most, per_host=PER_HOST, busy=busy))
        assert len(claimed) <= most
        for delivery in claimed:
            assert delivery.request_id not in self.under_way, "one at a time"
            self.under_way[delivery.request_id] = delivery.attempt
            self.deliveries.append(delivery)
        for host in busy:
            assert sum(self.expected[id].host == host for id in self.under_way) <= max(PER_HOST, busy[host])

    @rule(pick=PICK, status=st.sampled_from([200, 301, 503]))
    def end_delivery(self, pick, status):
        if not self.deliveries:
            return
        delivery = self.deliveries[-1 - pick % len(self.deliveries)]
        state = {200: "delivered", 301: "failed", 503: "pending"}[status]
        told = Delivered(
            attempt=delivery.attempt,
            at=self.now,
            seconds=0.1,
            status=status,
            error=None,
            next_at=self.now + 5 if state == "pending" else None,
        )
        held = self.under_way.get(delivery.request_id) == delivery.attempt
        assert self.write(outbox.end(delivery, told, state=state)) == held
        self.expected[delivery.request_id].log.append(status)
        if held:
            del self.under_way[delivery.request_id]
            self.expected[delivery.request_id].state = state

    @rule(all=st.booleans())
    def recover_deliveries(self, all):
        """At a start those of the process before; later those whose lease is over."""
        leased = set(self.under_way)
        found = set(self.write(outbox.recover(now=self.now, before=float("inf") if all else self.now)))
        assert found == leased if all else found <= leased
        for id in found:
            del self.under_way[id]
            self.expected[id].log.append(outbox.INTERRUPTED)

    @rule(pick=PICK, stranger=st.booleans())
    def redeliver(self, pick, stranger):
        if not self.expected:
            return
        id = list(self.expected)[-1 - pick % len(self.expected)]
        found = self.expected[id]
        begun = self.write(outbox.redeliver("stranger" if stranger else "t", id, now=self.now))
        assert begun == (not stranger and found.webhook and found.state != "waiting")
        if begun:
            found.state = "pending"
            self.under_way.pop(id, None)

    @invariant()
    def what_has_ended_is_on_its_way_and_nothing_else_is(self):
        due = []
        for id, found in self.expected.items():
            ended = self.read(transitions.get(id)).state in TERMINAL
            row = self.read(outbox.get("t", id))
            assert (row is not None) == found.webhook
            assert self.read(outbox.get("stranger", id)) is None
            if row is None:
                continue
            webhook, log = row
            if ended and found.state == "waiting":
                found.state = "pending"
            assert webhook.state == found.state
            assert (webhook.state == "waiting") == (not ended)
            assert (webhook.due_at is not None) == (webhook.state == "pending" and id not in self.under_way)
            assert [each.status or each.error for each in log] == found.log
            if webhook.due_at is not None:
                due.append(webhook.due_at)
        assert self.read(outbox.next_due()) == min(due, default=None)
        listed = self.read(outbox.listing("t", after=None, most=1000))
        named = [id for id, found in self.expected.items() if found.webhook]
        assert [each.request_id for each, _ in listed] == named[::-1]
        for each, last in listed:
            assert (last and (last.status or last.error)) == next(iter(self.expected[each.request_id].log[-1:]), None)
        assert self.read(outbox.listing(None, after=None, most=1000)) == listed

    def teardown(self):
        self.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.root)


Outbox.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestOutbox = Outbox.TestCase
