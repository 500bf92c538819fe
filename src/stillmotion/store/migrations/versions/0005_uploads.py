"""Uploads, finished and under way, and files that expire."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

EXPIRING = sa.text("expires_at IS NOT NULL")


def upgrade() -> None:
    # Media types of office documents have 71 characters, and sizes pass 2 GiB.
    _rebuild_files(
        sa.Column("content_type", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("file_name", sa.String(100)),
        sa.Column("expires_at", sa.Float),
    )
    op.create_index("ix_files_expires", "files", ["expires_at"], sqlite_where=EXPIRING, postgresql_where=EXPIRING)
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("file", sa.String(64), nullable=False),
        sa.Column("file_name", sa.String(100), nullable=False),
        sa.Column("content_type", sa.String(255), nullable=False),
        sa.Column("lifetime", sa.Float),
        sa.Column("multipart", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.CheckConstraint("state IN ('open', 'sealed', 'complete')", name=op.f("ck_uploads_state")),
    )
    op.create_index("ix_uploads_expires", "uploads", ["expires_at"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("file", sa.String(40), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "number", name="pk_upload_parts"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="fk_upload_parts_upload_id", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("upload_parts")
    op.drop_index("ix_uploads_expires", "uploads")
    op.drop_table("uploads")
    op.drop_index("ix_files_expires", "files")
    _rebuild_files(
        sa.Column("content_type", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )


def _rebuild_files(*columns: sa.Column[Any]) -> None:
    """SQLite cannot change the type of a column. Nothing refers to this table, so nothing cascades."""
    op.drop_index("ix_files_request", "files")
    op.rename_table("files", "files_before")
    op.create_table(
        "files",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(36)),
        sa.Column("tenant", sa.String(64), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("name", name="pk_files"),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_files_request_id", ondelete="SET NULL"),
    )
    kept = "name, request_id, tenant, content_type, size, created_at"
    op.execute(f"INSERT INTO files ({kept}) SELECT {kept} FROM files_before")
    op.drop_table("files_before")
    op.create_index("ix_files_request", "files", ["request_id"])
