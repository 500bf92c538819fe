"""A database from before the history is opened: what its requests held is listed."""

import sqlite3

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from stillmotion.store import history
from stillmotion.store.history import Question
from stillmotion.store.migrate import MIGRATIONS
from stillmotion.store.sqlite import SqliteStore

REQUESTS = """
INSERT INTO requests (id, tenant, app, endpoint, origin, state, created_at, attempt, max_attempts, cancel_requested,
                      ephemeral, private) VALUES
  ('told', 't', 'a/b', 'a/b/c', 'queue', 'done', 1, 1, 3, 0, 0, 0),
  ('other', 't', 'a/b', 'a/b/c', 'queue', 'failed', 2, 1, 3, 0, 0, 0),
  ('hidden', 't', 'a/b', 'a/b/c', 'queue', 'done', 3, 1, 3, 0, 0, 1),
  ('read', 't', 'a/b', 'a/b/c', 'queue', 'done', 4, 1, 3, 0, 1, 0),
  ('deleted', 't', 'a/b', 'a/b/c', 'queue', 'done', 5, 1, 3, 0, 0, 0);
INSERT INTO payloads (request_id, input, output) VALUES
  ('told', '{"prompt": "Ein ÄPFEL Baum", "image_url": "data:,"}',
   '{"seed": 9, "video": {"url": "/files/f.mp4", "width": 64, "height": 32, "num_frames": 9, "fps": 24.5}}'),
  ('other', '{"prompt": 5}', NULL),
  ('hidden', 'null', '{"seed": 9, "video": {"width": 64}}'),
  ('read', '{"prompt": "p"}', '{"seed": 9, "video": 1}');
INSERT INTO files (name, request_id, tenant, content_type, size, created_at) VALUES
  ('f.mp4', 'told', 't', 'video/mp4', 7, 5), ('up.bin', NULL, 't', 'image/png', 7, 5);
"""


async def test_earlier_requests_are_listed(tmp_path):
    path = tmp_path / "db"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        connection.commit()
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.executescript(REQUESTS)
    connection.close()
    store = await SqliteStore.open(path)
    try:
        page = await store.read(history.page(Question(tenant="t"), 9, now=9.0))
        assert [item.request.id for item in page.items] == ["read", "hidden", "other", "told"]
        read, hidden, other, told = page.items
        assert (told.prompt, told.seed, told.width, told.height, told.num_frames, told.fps) == (
            *("Ein ÄPFEL Baum", 9, 64, 32),
            *(9, 24.5),
        )
        assert (told.output, told.content_type, told.poster, told.playable) == ("f.mp4", "video/mp4", None, None)
        assert (other.prompt, hidden.prompt, hidden.seed, hidden.width) == (None,) * 4
        assert (read.prompt, read.seed) == ("p", None)
        page = await store.read(history.page(Question(tenant="t", words=("äpfel",)), 9, now=9.0))
        assert [item.request.id for item in page.items] == ["told"]
        assert await store.read(history.output_file("t", "told")) == ("f.mp4", "video/mp4")
    finally:
        await store.close()
