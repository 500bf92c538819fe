"""How a request is to be handled: its priority, until when it must start, and what is kept of it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INDEXES: dict[str, list[str]] = {
    "ix_requests_queued": [],
    "ix_requests_waiting": ["endpoint"],
    "ix_requests_warm": ["endpoint", "weights"],
}
WAITING = "state = 'queued'"


def upgrade() -> None:
    for column in _columns():
        op.add_column("requests", column)
    for name, columns in INDEXES.items():
        op.drop_index(name, "requests")
        _create(name, [*columns, "priority", "seq"], WAITING)
    _create("ix_requests_start_by", ["start_by"], f"{WAITING} AND start_by IS NOT NULL")


def downgrade() -> None:
    op.drop_index("ix_requests_start_by", "requests")
    for name, columns in INDEXES.items():
        op.drop_index(name, "requests")
        _create(name, [*columns, "seq"], WAITING)
    for column in reversed(_columns()):
        op.drop_column("requests", column.name)


def _create(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "requests", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("start_by", sa.Float),
        sa.Column("private", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("file_seconds", sa.Float),
        sa.Column("tags", sa.Text),
        sa.Column("engine", sa.String(64)),
    ]
