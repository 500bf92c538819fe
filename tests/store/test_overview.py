"""Everybody's requests and files: as they are served, and summed in steps."""

import sqlite3

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from stillmotion.store import listings, overview
from stillmotion.store.migrate import MIGRATIONS
from stillmotion.store.sqlite import SqliteStore

REQUESTS = """
INSERT INTO requests (id, tenant, app, endpoint, origin, state, created_at, ended_at, attempt, max_attempts,
                      cancel_requested, priority) VALUES
  ('kept', 't', 'a/b', 'a/b/c', 'queue', 'done', 1, 5, 1, 3, 0, 0),
  ('deleted', 't', 'a/b', 'a/b/c', 'queue', 'done', 1, 5, 1, 3, 0, 0);
INSERT INTO summaries (seq, num_frames, fps) SELECT seq, 121, 25.0 FROM requests WHERE id = 'kept';
"""


async def test_earlier_videos_have_their_seconds(tmp_path):
    path = tmp_path / "db"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")
        connection.commit()
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.executescript(REQUESTS)
    connection.close()
    store = await SqliteStore.open(path)
    try:
        (used,) = await store.read(listings.used_by_all(start=0, slot_seconds=900))
        assert (used.requests, used.video_seconds) == (2, 4.84)
    finally:
        await store.close()


async def test_files_are_summed_in_steps(tmp_path):
    store = await SqliteStore.open(tmp_path / "db")
    try:
        assert await store.read(overview.file_sizes("")) == overview.Sizes(counts={}, behind=None)
    finally:
        await store.close()
    count = 2 * overview.FILES_AT_ONCE + 10
    roles = ("output", "poster", None)
    connection = sqlite3.connect(tmp_path / "db")
    connection.executemany(
        "INSERT INTO files (name, tenant, content_type, size, created_at, role) VALUES (?, 't', 'x/y', ?, 0, ?)",
        [(f"{number:09}", number, roles[number % 3]) for number in range(count)],
    )
    connection.commit()
    connection.close()
    store = await SqliteStore.open(tmp_path / "db")
    try:
        found, after, steps = dict.fromkeys(roles, (0, 0)), "", 0
        while after is not None:
            sizes = await store.read(overview.file_sizes(after))
            for role, (files, size) in sizes.counts.items():
                found[role] = found[role][0] + files, found[role][1] + size
            after, steps = sizes.behind, steps + 1
        assert steps == 3
        assert found == {role: (len(range(at, count, 3)), sum(range(at, count, 3))) for at, role in enumerate(roles)}
    finally:
        await store.close()


async def test_failures_are_looked_for_among_the_newest(tmp_path):
    await (await SqliteStore.open(tmp_path / "db")).close()
    connection = sqlite3.connect(tmp_path / "db")
    connection.executemany(
        "INSERT INTO requests (id, tenant, app, endpoint, origin, state, created_at, attempt, max_attempts,"
        " cancel_requested, error) VALUES (?, 't', 'a/b', 'a/b/c', 'queue', ?, 0, 1, 3, 0, ?)",
        [
            (str(number), "failed" if number % 1000 == 0 else "done", '{"kind": "engine_error", "message": "no"}')
            for number in range(2 * overview.SCANNED)
        ],
    )
    connection.commit()
    connection.close()
    store = await SqliteStore.open(tmp_path / "db")
    try:
        board = await store.read(overview.board(9))
        assert [each.id for each in board.failed] == ["3000", "2000"]
        assert (board.running, board.waiting) == ([], [])
        assert len((await store.read(overview.board(1))).failed) == 1
    finally:
        await store.close()
