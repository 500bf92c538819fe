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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from stillmotion.errors import ConfigurationError, Unavailable
from stillmotion.store.migrate import upgrade
from stillmotion.store.sqlite_statements import CompiledStatements
from stillmotion.store.transitions import Transaction

Result = TypeVar("Result")

GROUP = 64
"""Most transactions in one commit: at 0.1 ms each the last of them waits 6 ms."""
NOTE_SECONDS = 0.002
"""How long a note waits for a write to go with: a client that submits one request after the other sends the next one
within that, and a commit of its own costs 0.1 ms."""


class SqliteStore:
    """Store over the SQLite file ``path``. ``SqliteStore.open`` is the way to have one."""

    def __init__(self, path: Path, lock: int) -> None:
        self._lock = lock
        self._statements = CompiledStatements()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
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
        job = _Job(transaction)
        self._jobs.put(job)
        # Shielded: a caller that gives up must not turn a commit that happens into one that it believes did not.
        return await asyncio.shield(asyncio.wrap_future(job.future))

    def note(self, transaction: Transaction[None]) -> None:
        # It wakes nobody and, when nothing else waits, syncs nothing: 0.1 ms of processor time less than a write.
        if not self._closed:
            self._jobs.put(_Job(transaction, durable=False))

    async def read(self, transaction: Transaction[Result]) -> Result:
        if self._closed:
            raise Unavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, transaction)

    async def durability(self) -> Mapping[str, Any]:
        """The pragmas that durability rests on, read from the live writer connection."""
        future: Future[Mapping[str, Any]] = Future()
        self._jobs.put(_Job(_never(), future, _pragmas))
        return await asyncio.wrap_future(future)

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
            while (job := self._jobs.get()) is not None:
                group = [job]
                last = False
                patience = 0.0 if job.durable else NOTE_SECONDS
                while len(group) < GROUP:
                    try:
                        following = self._jobs.get(timeout=patience) if patience else self._jobs.get_nowait()
                    except queue.Empty:
                        break
                    patience = 0.0
                    if following is None:
                        last = True
                        break
                    group.append(following)
                self._commit(connection, group)
                if last:
                    break
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _commit(self, connection: sqlite3.Connection, group: "Sequence[_Job]") -> None:
        settled: list[Callable[[], None]] = []
        try:
            self._set_durable(connection, any(job.durable for job in group))
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                settled.append(self._attempt(connection, job))
            connection.execute("COMMIT")
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            refusal = Unavailable(f"the database cannot be written: {error}")
            for job in group:
                job.fail(refusal)
            return
        for announce in settled:
            announce()

    def _set_durable(self, connection: sqlite3.Connection, durable: bool) -> None:
        """Whether the next commit waits for the disk. One that does also brings what the others before it wrote."""
        if durable != self._durable:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def _attempt(self, connection: sqlite3.Connection, job: "_Job") -> Callable[[], None]:
        """Runs one transaction inside the group; returns how to tell its caller once the group is on disk."""
        connection.execute("SAVEPOINT one")
        try:
            result = job.probe(connection) if job.probe else self._statements.run(connection, job.transaction)
        except sqlite3.OperationalError:
            # Disk full, I/O error, lock: the whole group is in doubt, and the caller may try again.
            raise
        except Exception as error:
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            failure = error
            return lambda: job.fail(failure)
        connection.execute("RELEASE one")
        return lambda: job.succeed(result)


class _Job:
    """One transaction on its way through the writer thread."""

    __slots__ = ("durable", "future", "probe", "transaction")

    def __init__(
        self,
        transaction: Transaction[Any],
        future: "Future[Any] | None" = None,
        probe: Callable[[sqlite3.Connection], Any] | None = None,
        *,
        durable: bool = True,
    ) -> None:
        self.transaction = transaction
        self.durable = durable
        self.future: Future[Any] = future or Future()
        self.probe = probe

    def succeed(self, result: Any) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _pragmas(connection: sqlite3.Connection) -> Mapping[str, Any]:
    names = ("journal_mode", "synchronous", "foreign_keys")
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


def _never() -> Transaction[None]:
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
