"""The outbox of webhooks, and the log of their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("host", sa.String(253), nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Float),
        sa.Column("lease_expires", sa.Float),
        sa.PrimaryKeyConstraint("seq", name="pk_webhooks"),
        sa.UniqueConstraint("request_id", name="uq_webhooks_request_id"),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_webhooks_request_id", ondelete="CASCADE"),
        sa.CheckConstraint("state IN ('waiting', 'pending', 'delivered', 'failed')", name=op.f("ck_webhooks_state")),
        sa.CheckConstraint(
            "(state = 'pending') = (due_at IS NOT NULL OR lease_expires IS NOT NULL)", name=op.f("ck_webhooks_pending")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhooks_tenant", "webhooks", ["tenant", "seq"])
    due, leased = sa.text("due_at IS NOT NULL"), sa.text("lease_expires IS NOT NULL")
    op.create_index("ix_webhooks_due", "webhooks", ["due_at"], sqlite_where=due, postgresql_where=due)
    op.create_index("ix_webhooks_due_at_host", "webhooks", ["host", "due_at"], sqlite_where=due, postgresql_where=due)
    op.create_index("ix_webhooks_leased", "webhooks", ["lease_expires"], sqlite_where=leased, postgresql_where=leased)
    op.create_table(
        "webhook_deliveries",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.String(16)),
        sa.Column("next_at", sa.Float),
        sa.PrimaryKeyConstraint("seq", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name="fk_webhook_deliveries_request_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_deliveries_request", "webhook_deliveries", ["request_id", "seq"])


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
