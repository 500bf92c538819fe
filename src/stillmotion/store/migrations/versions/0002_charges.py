"""What a request cost and used, results for one reader only, and the indexes of the listings."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = (
    ("error_kind", sa.String(40)),
    ("quantity", sa.String(40)),
    ("unit", sa.String(16)),
    ("unit_price", sa.String(40)),
    ("cost", sa.String(40)),
    ("gpu_seconds", sa.Float),
    ("forget_at", sa.Float),
)


def upgrade() -> None:
    # Plain ADD COLUMN: it rewrites no row. Rebuilding the table would drop it, and the payloads cascade.
    for name, type in COLUMNS:
        op.add_column("requests", sa.Column(name, type))
    op.add_column("requests", sa.Column("ephemeral", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("ix_requests_ended", "requests", ["tenant", "endpoint", "ended_at"])
    forgettable = sa.text("forget_at IS NOT NULL")
    op.create_index(
        "ix_requests_forget", "requests", ["forget_at"], sqlite_where=forgettable, postgresql_where=forgettable
    )
    op.create_index("ix_files_request", "files", ["request_id"])
    _copy_kinds()


def _copy_kinds() -> None:
    """Gives the failed requests of earlier versions their kind, which stood in the error's JSON alone."""
    requests = sa.table("requests", sa.column("seq"), sa.column("error"), sa.column("error_kind"))
    connection = op.get_bind()
    failed = connection.execute(sa.select(requests.c.seq, requests.c.error).where(requests.c.error.is_not(None)))
    kinds = [{"row": row.seq, "kind": json.loads(row.error)["kind"]} for row in failed]
    if kinds:
        change = sa.update(requests).where(requests.c.seq == sa.bindparam("row"))
        connection.execute(change.values(error_kind=sa.bindparam("kind")), kinds)


def downgrade() -> None:
    op.drop_index("ix_files_request", "files")
    op.drop_index("ix_requests_forget", "requests")
    op.drop_index("ix_requests_ended", "requests")
    for name in (*(name for name, _ in COLUMNS), "ephemeral"):
        op.drop_column("requests", name)
