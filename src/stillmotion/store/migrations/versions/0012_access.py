"""Who may read a file: of files, of uploads under way, and of what requests will make."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = ("requests", "files", "uploads")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("acl", sa.Text))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "acl")
