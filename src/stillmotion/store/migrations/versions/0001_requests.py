"""Requests, their payloads, logs and files."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("app", sa.String(200), nullable=False),
        sa.Column("endpoint", sa.String(200), nullable=False),
        sa.Column("origin", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("inference_seconds", sa.Float),
        sa.Column("model", sa.String(200)),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("lease", sa.String(36)),
        sa.Column("lease_expires", sa.Float),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_requests"),
        sa.UniqueConstraint("id", name="uq_requests_id"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_requests_state")
        ),
        sa.CheckConstraint("(state = 'running') = (lease IS NOT NULL)", name=op.f("ck_requests_lease")),
        sqlite_autoincrement=True,
    )
    queued, running = sa.text("state = 'queued'"), sa.text("state = 'running'")
    op.create_index("ix_requests_queued", "requests", ["seq"], sqlite_where=queued, postgresql_where=queued)
    op.create_index(
        "ix_requests_running", "requests", ["lease_expires"], sqlite_where=running, postgresql_where=running
    )
    op.create_table(
        "payloads",
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("output", sa.Text),
        sa.PrimaryKeyConstraint("request_id", name="pk_payloads"),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_payloads_request_id", ondelete="CASCADE"),
    )
    op.create_table(
        "logs",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_logs"),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_logs_request_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_logs_request", "logs", ["request_id", "seq"])
    op.create_table(
        "files",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(36)),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("content_type", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_files"),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_files_request_id", ondelete="SET NULL"),
    )


def downgrade() -> None:
    for table in ("files", "logs", "payloads", "requests"):
        op.drop_table(table)
