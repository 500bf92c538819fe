"""The tables, declared once for every database. Alembic's migrations are compared with this module by a test.

``requests`` holds what every poll reads and stays narrow; the JSON documents, which may be megabytes (data URIs), lie
in ``payloads``, one row per request. Times are unix seconds.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

requests = Table(
    "requests",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("tenant", String(64), nullable=False),
    Column("app", String(200), nullable=False),
    Column("endpoint", String(200), nullable=False),
    # "queue" outlives its connection; "run" was asked for over one connection and ends with it.
    Column("origin", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("inference_seconds", Float),
    Column("model", String(200)),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    # Set while running. Every write by the runner names both lease and attempt.
    Column("lease", String(36)),
    Column("lease_expires", Float),
    Column("error", Text),
    # The kind of ``error`` again, so that a listing can ask for it.
    Column("error_kind", String(40)),
    # What a success costs: decimals as text, because neither database sums floats exactly. Null: not priced.
    Column("quantity", String(40)),
    Column("unit", String(16)),
    Column("unit_price", String(40)),
    Column("cost", String(40)),
    Column("gpu_seconds", Float),
    # The output is for one reader only: deleted once it was read, at ``forget_at`` at the latest.
    Column("ephemeral", Boolean, nullable=False, server_default=false()),
    Column("forget_at", Float),
    CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
    CheckConstraint("(state = 'running') = (lease IS NOT NULL)", name="lease"),
    sqlite_autoincrement=True,
)
# Partial indexes: a claim and a recovery look only at waiting and running rows, however many are finished.
Index(
    "ix_requests_queued",
    requests.c.seq,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)
Index(
    "ix_requests_running",
    requests.c.lease_expires,
    sqlite_where=text("state = 'running'"),
    postgresql_where=text("state = 'running'"),
)
# A listing is one range of this index per endpoint, however many requests the others have.
Index("ix_requests_ended", requests.c.tenant, requests.c.endpoint, requests.c.ended_at)
Index(
    "ix_requests_forget",
    requests.c.forget_at,
    sqlite_where=text("forget_at IS NOT NULL"),
    postgresql_where=text("forget_at IS NOT NULL"),
)

payloads = Table(
    "payloads",
    metadata,
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("input", Text, nullable=False),
    Column("output", Text),
)

logs = Table(
    "logs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("at", Float, nullable=False),
    Column("level", String(8), nullable=False),
    Column("message", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_logs_request", logs.c.request_id, logs.c.seq)

files = Table(
    "files",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="SET NULL")),
    Column("tenant", String(64), nullable=False),
    Column("content_type", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
)
Index("ix_files_request", files.c.request_id)
