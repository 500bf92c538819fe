"""The embedded store: one SQLite file, one process, one writer thread with group commit.

WAL with ``synchronous=FULL``: a commit returns after its fdatasync. One fdatasync costs 0.7 ms on a fast disk and 10 ms
on a slow one, so the writer commits everything that waits at once; each transaction of the group has a savepoint of
its own and fails alone. Reads go through a second connection and thread, which WAL never blocks.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.exc import DBAPIError

from stillmotion.errors import ConfigurationError, Unavailable
from stillmotion.store.migrate import upgrade
from stillmotion.store.sqlite_statements import CompiledStatements
from stillmotion.store.transitions import Transaction

Result = TypeVar("Result")

GROUP = 64
"""Most transactions in one commit: at 0.1 ms each the last of them waits 6 ms."""
NOTE_SECONDS = 0.004
"""How long notes wait for a write to go with: a client that submits one request after the other sends the next one
within that. A commit of their own costs 0.1 ms, and waking the writer for them alone 0.2 ms more."""


class SqliteStore:
    """Store over the SQLite file ``path``. ``SqliteStore.open`` is the way to have one."""

    def __init__(self, path: Path, lock: int) -> None:
        self._lock = lock
        self._statements = CompiledStatements()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._notes: deque[_Job] = deque()
        self._noted = False  # a timer is set that has the writer look at the notes
        self._closed = False
        self._durable = True
        self._opened_at = time.monotonic()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")
        self._read_connection = self._reader.submit(_connect, path, read_only=True).result()
        self._writer = threading.Thread(target=self._write_forever, args=(_connect(path),), name="store-writer")
        self._writer.start()

    @classmethod
    async def open(cls, path: Path) -> "SqliteStore":
        """Opens or creates the file, brings its schema up to date and takes it for this process alone.

        Raises ConfigurationError when another process has it, when it is of a newer version, or cannot be opened.
        """
        return await asyncio.to_thread(cls._open, path)

    @classmethod
    def _open(cls, path: Path) -> "SqliteStore":
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _take_lock(path.with_name(path.name + ".lock"))
        try:
            upgrade(f"sqlite:///{path}")
            return cls(path, lock)
        except (sqlite3.Error, DBAPIError) as error:
            os.close(lock)
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise ConfigurationError(f"cannot open the database {path}: {cause}") from error
        except BaseException:
            os.close(lock)
            raise

    def tick(self) -> float:
        return time.monotonic()

    async def recovery_deadline(self) -> float:
        # The lock says that nobody else runs anything on this file, and the clock of an earlier boot says nothing:
        # whatever was running when this process came is free. Later on, a lease must have expired.
        first, self._opened_at = self._opened_at, 0.0
        return float("inf") if first else self.tick()

    async def write(self, transaction: Transaction[Result]) -> Result:
        if self._closed:
            raise Unavailable("the store is closed")
        result: Result = await self._ask(_Job(transaction))
        return result

    def note(self, transaction: Transaction[None]) -> None:
        if self._closed:
            return
        self._notes.append(_Job(transaction))
        if not self._noted:
            self._noted = True
            asyncio.get_running_loop().call_later(NOTE_SECONDS, self._bring_notes)

    def _bring_notes(self) -> None:
        self._noted = False
        if self._notes and not self._closed:
            self._jobs.put(_Job(_nothing(), durable=False))

    async def _ask(self, job: "_Job") -> Any:
        """What came of a job. A caller that is cancelled meanwhile takes nothing back: what is asked for is done."""
        job.answer = asyncio.get_running_loop().create_future()
        self._jobs.put(job)
        return await job.answer

    async def read(self, transaction: Transaction[Result]) -> Result:
        if self._closed:
            raise Unavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, transaction)

    async def durability(self) -> Mapping[str, Any]:
        """The pragmas that durability rests on, read from the live writer connection."""
        pragmas: Mapping[str, Any] = await self._ask(_Job(_nothing(), probe=_pragmas))
        return pragmas

    async def close(self) -> None:
        """Finishes what was asked for, folds the log into the file and lets go of it."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._reader.submit(self._read_connection.close).result)
        self._reader.shutdown()
        os.close(self._lock)

    def _read(self, transaction: Transaction[Result]) -> Result:
        connection = self._read_connection
        try:
            # One snapshot for all statements of the transaction.
            connection.execute("BEGIN")
            try:
                return self._statements.run(connection, transaction)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the database cannot be read: {error}") from error

    def _write_forever(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(connection):
            last = False
            while not last:
                asked = [self._jobs.get()]
                while len(asked) < GROUP:
                    try:
                        asked.append(self._jobs.get_nowait())
                    except queue.Empty:
                        break
                last = None in asked
                self._commit(connection, [job for job in asked if job is not None])
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _commit(self, connection: sqlite3.Connection, asked: "Sequence[_Job]") -> None:
        # Notes go first: whatever was asked for after one finds it done, and to what was asked for before it, it is
        # no matter (see Store.note).
        notes = [self._notes.popleft() for _ in range(len(self._notes))]
        outcomes: list[_Outcome] = []
        try:
            self._set_durable(connection, any(job.durable for job in asked))
            connection.execute("BEGIN IMMEDIATE")
            for job in (*notes, *asked):
                outcomes.append(self._attempt(connection, job))
            connection.execute("COMMIT")
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            refusal = Unavailable(f"the database cannot be written: {error}")
            outcomes = [_Outcome(job, error=refusal) for job in asked]
        _tell(outcomes)

    def _set_durable(self, connection: sqlite3.Connection, durable: bool) -> None:
        """Whether the next commit waits for the disk. One that does also brings what the others before it wrote."""
        if durable != self._durable:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def _attempt(self, connection: sqlite3.Connection, job: "_Job") -> "_Outcome":
        """Runs one transaction inside the group; what came of it is true once the group is on disk."""
        connection.execute("SAVEPOINT one")
        try:
            result = job.probe(connection) if job.probe else self._statements.run(connection, job.transaction)
        except sqlite3.OperationalError:
            # Disk full, I/O error, lock: the whole group is in doubt, and the caller may try again.
            raise
        except Exception as error:
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            return _Outcome(job, error=error)
        connection.execute("RELEASE one")
        return _Outcome(job, result)


@dataclass(slots=True)
class _Job:
    """One transaction on its way through the writer thread."""

    transaction: Transaction[Any]
    durable: bool = True
    probe: Callable[[sqlite3.Connection], Any] | None = None
    answer: "asyncio.Future[Any] | None" = None
    """Where its caller waits; a note has none."""


class _Outcome(NamedTuple):
    job: _Job
    result: Any = None
    error: Exception | None = None


def _tell(outcomes: "Sequence[_Outcome]") -> None:
    """Wakes each event loop that waits once, for all of a group: once for each caller cost 60 us of every submit."""
    waiting: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        if outcome.job.answer is not None:
            waiting.setdefault(outcome.job.answer.get_loop(), []).append(outcome)
    for loop, theirs in waiting.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed, so nobody waits any more
            loop.call_soon_threadsafe(_answer, theirs)


def _answer(outcomes: "Sequence[_Outcome]") -> None:
    for job, result, error in outcomes:
        if job.answer is None or job.answer.done():  # done: its caller was cancelled
            continue
        if error is None:
            job.answer.set_result(result)
        else:
            job.answer.set_exception(error)


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    # A submit touches 16 pages, most of them those that the one before it touched: copying them into the file every 32
    # MB instead of every 4 MB copies each less often. Reading such a log at a start after a crash takes 50 ms.
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    # Or every third submit makes and deletes a file, for what a savepoint might have to undo.
    connection.execute("PRAGMA temp_store = MEMORY")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _pragmas(connection: sqlite3.Connection) -> Mapping[str, Any]:
    names = ("journal_mode", "synchronous", "foreign_keys")
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


def _nothing() -> Transaction[None]:
    yield from ()


def _take_lock(path: Path) -> int:
    """An exclusive lock that the kernel drops with the process, so a crash never leaves it behind."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigurationError(f"another Stillmotion server is using {path.parent}") from None
    return descriptor
