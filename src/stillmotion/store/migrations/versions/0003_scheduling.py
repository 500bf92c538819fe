"""Which weights a request needs, so that an engine that has them can take it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {"ix_requests_waiting": ["endpoint", "seq"], "ix_requests_warm": ["endpoint", "weights", "seq"]}


def upgrade() -> None:
    op.add_column("requests", sa.Column("weights", sa.String(32), nullable=False, server_default=""))
    waiting = sa.text("state = 'queued'")
    for name, columns in INDEXES.items():
        op.create_index(name, "requests", columns, sqlite_where=waiting, postgresql_where=waiting)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "requests")
    op.drop_column("requests", "weights")
