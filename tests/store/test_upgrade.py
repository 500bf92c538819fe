"""A database of the first release, with work in every state, is opened by this one."""

import sqlite3

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from stillmotion.errors import ConfigurationError
from stillmotion.store import listings, transitions
from stillmotion.store.migrate import MIGRATIONS, head, upgrade
from stillmotion.store.records import Listing
from stillmotion.store.sqlite import SqliteStore
from stillmotion.store.sqlite_snapshot import read_snapshot

ROWS = """
INSERT INTO requests (id, tenant, app, endpoint, origin, state, created_at, started_at, ended_at, inference_seconds,
                      model, attempt, max_attempts, cancel_requested, lease, lease_expires, error) VALUES
  ('waits', 't', 'a/b', 'a/b/c', 'queue', 'queued', 1, NULL, NULL, NULL, NULL, 0, 3, 0, NULL, NULL, NULL),
  ('runs', 't', 'a/b', 'a/b/c', 'queue', 'running', 2, 3, NULL, NULL, NULL, 1, 3, 0, 'lease', 9, NULL),
  ('done', 't', 'a/b', 'a/b/c', 'queue', 'done', 1, 2, 5, 2.5, 'm', 1, 3, 0, NULL, NULL, NULL),
  ('failed', 't', 'a/b', 'a/b/c', 'queue', 'failed', 1, 2, 6, NULL, NULL, 1, 3, 0, NULL, NULL,
   '{"kind": "invalid_input", "message": "no", "details": []}');
INSERT INTO payloads (request_id, input, output)
  SELECT id, '{"of": "' || id || '"}', iif(state = 'done', '{"video": 1}', NULL) FROM requests;
INSERT INTO files VALUES ('f.mp4', 'done', 't', 'video/mp4', 7, 5);
"""


@pytest.fixture
def old(tmp_path):
    """Path of a database of revision 0001."""
    path = tmp_path / "db"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.executescript(ROWS)
    connection.close()
    return path


async def test_every_state_goes_on_from_where_it_was(old):
    store = await SqliteStore.open(old)
    try:
        for id, state in (("waits", "queued"), ("runs", "running"), ("done", "done"), ("failed", "failed")):
            request = await store.read(transitions.get(id))
            assert (request.state, request.charge, request.gpu_seconds, request.ephemeral) == (state, None, None, False)
            payload = await store.read(listings.get_payload("t", id))
            assert payload.input == f'{{"of": "{id}"}}'
        assert await store.read(transitions.get_output("done")) == '{"video": 1}'
        assert (await store.read(transitions.get_file("f.mp4"))).size == 7
        claim = await store.write(transitions.claim("new", now=10.0, expires=20.0))
        assert claim.fence.id == "waits"
        listing = Listing(tenant="t", endpoints=("a/b/c",), start=0, end=9, kinds=frozenset({"invalid_input"}))
        assert [request.id for _, request in await store.read(listings.ended(listing, 9))] == ["failed"]
        (used,) = await store.read(listings.used_by_all(start=0, slot_seconds=900))
        assert (used.requests, used.charge, used.gpu_seconds) == (1, None, 0)
    finally:
        await store.close()


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(old):
    connection = sqlite3.connect(old)
    connection.execute("CREATE INDEX ix_files_request ON files (size)")
    before = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    with pytest.raises(Exception, match="ix_files_request already exists"):
        upgrade(f"sqlite:///{old}")
    assert connection.execute("SELECT name, sql FROM sqlite_master").fetchall() == before
    connection.execute("DROP INDEX ix_files_request")
    connection.close()
    upgrade(f"sqlite:///{old}")
    assert read_snapshot(old, transitions.get("done")).state == "done"


def test_a_database_of_another_version_is_not_read(old):
    with pytest.raises(ConfigurationError, match="another version"):
        read_snapshot(old, transitions.get("done"))


def test_what_is_no_database_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="no database"):
        read_snapshot(tmp_path / "absent", transitions.get("x"))
    (tmp_path / "text").write_text("not a database" * 100)
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_snapshot(tmp_path / "text", transitions.get("x"))
    assert head().isdecimal()


async def test_a_snapshot_is_read_beside_the_owner_and_after_it(tmp_path):
    path = tmp_path / "db"
    store = await SqliteStore.open(path)
    await store.write(transitions.end_orphaned_runs(now=1.0))
    assert read_snapshot(path, transitions.get("x")) is None
    await store.close()
    before = path.read_bytes()
    assert read_snapshot(path, transitions.get("x")) is None
    assert path.read_bytes() == before
    await (await SqliteStore.open(path)).close()
