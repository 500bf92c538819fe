"""What the network computed for a success, beside what was delivered."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("computed", sa.String(32)))


def downgrade() -> None:
    op.drop_column("requests", "computed")
