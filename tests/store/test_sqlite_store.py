"""The embedded store: durability settings, group commit, one process, and a schema that is the one declared."""

import asyncio
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from stillmotion.errors import ConfigurationError, Unavailable
from stillmotion.store import transitions
from stillmotion.store.migrate import upgrade
from stillmotion.store.records import LogLine, NewRequest
from stillmotion.store.sqlite import SqliteStore
from stillmotion.store.tables import metadata


@pytest.fixture
async def store(tmp_path):
    store = await SqliteStore.open(tmp_path / "db")
    yield store
    await store.close()


def request(id=None):
    id = id or str(uuid.uuid4())
    return NewRequest(id=id, tenant="t", app="a/b", endpoint="a/b/c", origin="queue", input="{}", max_attempts=3)


def submit(new, lines=()):
    return transitions.submit(new, now=time.time(), lines=lines)


async def test_commits_are_synchronous(store):
    assert await store.durability() == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


async def test_a_faulty_transaction_of_a_group_fails_alone(store):
    twin = request()
    results = await asyncio.gather(
        *(store.write(submit(new)) for new in (request(), twin, twin, request())), return_exceptions=True
    )
    assert [type(result) for result in results] == [int, int, sqlite3.IntegrityError, int]
    assert len(await store.read(transitions.queued(10))) == 3


async def test_a_transaction_that_raises_leaves_nothing_behind(store):
    new = request()

    def broken():
        yield from submit(new)
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(broken())
    assert await store.read(transitions.get(new.id)) is None


async def test_one_claim_takes_one_request(store):
    for _ in range(20):
        await store.write(submit(request()))
    claims = await asyncio.gather(*(store.write(transitions.claim(str(n), now=1.0, expires=2.0)) for n in range(30)))
    ids = [claim.fence.id for claim in claims if claim]
    assert len(ids) == len(set(ids)) == 20


async def test_a_caller_that_gives_up_does_not_undo_the_commit(store):
    new = request()
    task = asyncio.create_task(store.write(submit(new)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.write(transitions.cancel(new.id, now=1.0))) == "queued"


async def test_any_text_comes_back_as_it_went_in(store):
    text = "emoji 🎬, quotes ' \" ; --, line\nbreak, \x7f, 中文"
    new = request()
    await store.write(submit(new, [LogLine(at=1.5, level="INFO", message=text)]))
    assert [line.message for line in await store.read(transitions.get_logs(new.id))] == [text]


async def test_a_full_disk_is_told_and_survived(tmp_path):
    """In a process whose files may not grow beyond a limit; raising the limit is the disk being freed."""
    program = f"""
import asyncio, resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_sqlite_store import Path, SqliteStore, Unavailable, request, submit, transitions
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    store = await SqliteStore.open(Path({str(tmp_path)!r}) / "db")
    kept = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        for kept in range(5000):
            await store.write(submit(request()))
    except Unavailable:
        pass
    else:
        raise SystemExit("the limit was never met")
    assert len(await store.read(transitions.queued(10_000))) == kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.write(submit(request()))
    assert len(await store.read(transitions.queued(10_000))) == kept + 1
    await store.close()
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=subprocess.PIPE)
    _, errors = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0, errors.decode()


async def test_a_second_process_is_refused(store, tmp_path):
    with pytest.raises(ConfigurationError, match="another Stillmotion server"):
        await SqliteStore.open(tmp_path / "db")


async def test_a_closed_store_refuses(tmp_path):
    store = await SqliteStore.open(tmp_path / "db")
    await store.close()
    with pytest.raises(Unavailable):
        await store.write(submit(request()))
    again = await SqliteStore.open(tmp_path / "db")
    await again.close()


def test_a_newer_database_is_refused(tmp_path):
    upgrade(f"sqlite:///{tmp_path / 'db'}")
    connection = sqlite3.connect(tmp_path / "db")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        upgrade(f"sqlite:///{tmp_path / 'db'}")


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match="database"):
        await SqliteStore.open(tmp_path / "db")


def test_migrations_make_the_declared_tables(tmp_path):
    upgrade(f"sqlite:///{tmp_path / 'migrated'}")
    declared = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'declared'}")
    metadata.create_all(declared)
    migrated = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'migrated'}")
    try:
        with migrated.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        # Alembic does not compare checks, partial indexes and primary keys; the SQL of both databases must agree.
        assert _schema(migrated) == _schema(declared)
    finally:
        migrated.dispose()
        declared.dispose()


def _schema(engine):
    query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' AND name <> 'alembic_version'"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(query).all()
    return {name: _parts(sql or "") for name, sql in rows}


def _parts(sql):
    """A statement's head and the items of its list, in any order: a column that was added stands behind the checks."""
    head, _, rest = sql.partition("(")
    parts, depth = [""], 1
    for character in rest:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (depth, character) in {(1, ","), (0, ")")}:
            parts.append("")
        else:
            parts[-1] += character
    return [head.strip(), *sorted(" ".join(part.split()) for part in parts)]
