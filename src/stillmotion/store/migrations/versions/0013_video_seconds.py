"""How long a success plays, for the sums of what was used: it stays when what a listing shows is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("video_seconds", sa.Float))
    # Of what was deleted before, nothing is known any more.
    op.execute(
        "UPDATE requests SET video_seconds = "
        "(SELECT num_frames / fps FROM summaries WHERE summaries.seq = requests.seq) WHERE state = 'done'"
    )


def downgrade() -> None:
    op.drop_column("requests", "video_seconds")
