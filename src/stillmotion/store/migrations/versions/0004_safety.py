"""Whether a safety checker saw what a request made."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("safety", sa.String(16)))


def downgrade() -> None:
    op.drop_column("requests", "safety")
