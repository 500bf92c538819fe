"""Submits that may be repetitions against a model of a few lines, with the process dying between any two steps."""

import asyncio
import atexit
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stillmotion.errors import IdempotencyKeyReused
from stillmotion.store import duplicates, transitions
from stillmotion.store.duplicates import Keyed, Unkeyed, Written
from stillmotion.store.migrate import upgrade
from stillmotion.store.records import NewRequest
from stillmotion.store.sqlite import SqliteStore

KEY_SECONDS, REPLY_SECONDS = 100.0, 60.0
PICK = st.integers(0, 3)
TENANTS, KEYS, DIGESTS = st.sampled_from("tu"), st.sampled_from("kl"), st.sampled_from("abc")


@cache
def empty_database() -> Path:
    """Of this version's schema, which takes longer to make than to copy."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    upgrade(f"sqlite:///{folder}/db")
    return Path(folder) / "db"


@dataclass
class Unanswered:
    digest: str
    holder: str
    at: float


class Submits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.boots = count()
        self.numbers = count()
        self.now = 1000.0
        self.ids: list[str] = []
        self.cancelled: set[str] = set()
        self.keys: dict[tuple[str, str], tuple[str, str, float]] = {}  # to digest, id and end
        self.unanswered: dict[str, Unanswered] = {}  # by request
        self.answering: list[Written] = []  # what this process would say when it has answered
        self.path = self.folder()
        shutil.copyfile(empty_database(), self.path / "db")
        self.store = self.run(SqliteStore.open(self.path / "db"))

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def write(self, transaction):
        return self.run(self.store.write(transaction))

    async def note(self, transaction):
        self.store.note(transaction)

    def folder(self) -> Path:
        path = self.root / str(next(self.boots))
        path.mkdir()
        return path

    def submit(self, tenant, identity):
        """Its own id, and what came of it."""
        new = NewRequest(
            id=f"request-{next(self.numbers)}",
            tenant=tenant,
            app="a/b",
            endpoint="a/b/c",
            origin="queue",
            input="{}",
            max_attempts=3,
        )
        return new.id, lambda: self.write(duplicates.submit(new, identity, now=self.now))

    @rule(tenant=TENANTS, key=KEYS, digest=DIGESTS)
    def submit_with_a_key(self, tenant, key, digest):
        id, submit = self.submit(tenant, Keyed(key=key, digest=digest, expires_at=self.now + KEY_SECONDS))
        held = self.keys.get((tenant, key))
        if held is None or held[2] <= self.now:
            found = submit()
            assert (found.id, found.repeated) == (id, False)
            self.ids.append(id)
            self.keys[tenant, key] = digest, id, self.now + KEY_SECONDS
        elif held[0] == digest:
            found = submit()
            assert (found.id, found.repeated) == (held[1], True)
        else:
            with pytest.raises(IdempotencyKeyReused):
                submit()

    @rule(digest=DIGESTS)
    def submit_without_a_key(self, digest):
        answering = frozenset(reply.holder for reply in self.answering if reply.digest == digest)
        since = self.now - REPLY_SECONDS
        lost = [
            id
            for id, row in self.unanswered.items()
            if row.digest == digest and row.at > since and row.holder not in answering and id not in self.cancelled
        ]
        own, submit = self.submit("t", Unkeyed(digest=digest, since=since, answering=answering))
        found = submit()
        assert (found.id, found.repeated) == ((min(lost, key=self.ids.index), True) if lost else (own, False))
        if not lost:
            self.ids.append(own)
        self.unanswered[found.id] = Unanswered(digest, own, self.now)
        self.answering.append(Written(digest=digest, id=found.id, holder=own))

    @rule(digest=DIGESTS)
    def submit_where_no_reply_was_lost(self, digest):
        """``answering`` None: whatever the table holds is not looked at."""
        own, submit = self.submit("t", Unkeyed(digest=digest, since=0.0))
        assert submit().id == own
        self.ids.append(own)
        self.unanswered[own] = Unanswered(digest, own, self.now)
        self.answering.append(Written(digest=digest, id=own, holder=own))

    @rule(picks=st.lists(PICK, max_size=3))
    def answer(self, picks):
        written = [self.answering.pop(pick % len(self.answering)) for pick in picks if self.answering]
        self.run(self.note(duplicates.answered(written)))
        self.write(duplicates.drop_keys([]))  # runs after it
        for reply in written:
            if reply.id in self.unanswered and self.unanswered[reply.id].holder == reply.holder:
                del self.unanswered[reply.id]

    @rule(pick=PICK)
    def lose(self, pick):
        if self.answering:
            self.answering.pop(pick % len(self.answering))

    @rule(pick=PICK)
    def cancel(self, pick):
        if self.ids:
            id = self.ids[-1 - pick % len(self.ids)]
            self.write(transitions.cancel(id, now=self.now))
            self.cancelled.add(id)

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def sweep(self):
        before = self.now - REPLY_SECONDS
        oldest = self.run(self.store.read(duplicates.oldest_unanswered()))
        assert oldest == min((row.at for row in self.unanswered.values()), default=None)
        self.write(duplicates.forget_unanswered(before=before))
        self.unanswered = {id: row for id, row in self.unanswered.items() if row.at > before}
        expired = self.run(self.store.read(duplicates.expired_keys(now=self.now, most=100)))
        assert set(expired) == {place for place, (*_, end) in self.keys.items() if end <= self.now}
        self.write(duplicates.drop_keys(expired))
        for place in expired:
            del self.keys[place]

    @rule(digest=DIGESTS, steps=st.integers(1, 4), keyed=st.booleans())
    def die_inside_a_submit(self, digest, steps, keyed):
        """Some of its statements ran, the commit never did: neither the request nor what would find it is there."""
        new = NewRequest(id="half", tenant="t", app="a/b", endpoint="a/b/c", origin="queue", input="{}", max_attempts=3)
        identity = (
            Keyed(key="half", digest=digest, expires_at=self.now + 1)
            if keyed
            else Unkeyed(digest=digest, since=0.0, answering=frozenset())
        )
        transaction = duplicates.submit(new, identity, now=self.now)

        def halfway():
            rows = None
            for _ in range(steps):
                try:
                    rows = yield next(transaction) if rows is None else transaction.send(rows)
                except (StopIteration, RuntimeError):
                    break
            raise InterruptedError("the process dies here")

        with pytest.raises(InterruptedError):
            self.write(halfway())
        self.restart()

    @rule()
    def restart(self):
        """What the disk holds at this instant is what the next process finds: all that was not answered is lost."""
        after = self.folder()
        for name in ("db", "db-wal"):
            if (self.path / name).exists():
                shutil.copyfile(self.path / name, after / name)
        old, self.path = self.store, after
        self.store = self.run(SqliteStore.open(after / "db"))
        self.run(old.close())
        self.answering = []
        owed = self.run(self.store.read(duplicates.unanswered()))
        assert sorted(owed) == sorted((row.digest, row.at) for row in self.unanswered.values())
        assert [at for _, at in owed] == sorted(at for _, at in owed)

    @invariant()
    def the_store_agrees(self):
        with closing(sqlite3.connect(self.path / "db")) as database:
            assert [id for (id,) in database.execute("SELECT id FROM requests ORDER BY seq")] == self.ids
            rows = database.execute("SELECT request_id, digest, holder, at FROM unanswered").fetchall()
            assert {id: Unanswered(*row) for id, *row in rows} == self.unanswered
            keys = database.execute("SELECT tenant, key, digest, request_id, expires_at FROM idempotency_keys")
            assert {(tenant, key): tuple(row) for tenant, key, *row in keys} == self.keys

    def teardown(self):
        self.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.root)


Submits.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestSubmits = Submits.TestCase
