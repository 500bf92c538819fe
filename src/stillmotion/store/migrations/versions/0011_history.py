"""The history: what is shown of each request, its marks, how long works of each class took, and copies of files."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

PLACE = ["created_at", "seq"]
INDEXES: dict[str, tuple[list[str], str | None]] = {
    "ix_requests_history": (["tenant", *PLACE], None),
    "ix_requests_history_of": (["tenant", "endpoint", *PLACE], None),
    "ix_requests_pinned": (["tenant", *PLACE], "pinned_at IS NOT NULL"),
    "ix_requests_effort": (["endpoint", "model", "effort", "seq"], "effort IS NOT NULL"),
}
MAX_PROMPT = 5000


def upgrade() -> None:
    op.add_column("requests", sa.Column("pinned_at", sa.Float))
    op.add_column("requests", sa.Column("effort", sa.String(24)))
    op.add_column("files", sa.Column("role", sa.String(8)))
    op.execute("UPDATE files SET role = 'output' WHERE request_id IS NOT NULL")
    summaries = op.create_table(
        "summaries",
        sa.Column(
            "seq",
            sa.Integer,
            sa.ForeignKey("requests.seq", ondelete="CASCADE", name="fk_summaries_seq"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("prompt", sa.Text),
        sa.Column("folded", sa.Text),
        sa.Column("seed", sa.BigInteger),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("num_frames", sa.Integer),
        sa.Column("fps", sa.Float),
        sa.PrimaryKeyConstraint("seq", name="pk_summaries"),
    )
    _summarise(summaries)
    for name, (columns, where) in INDEXES.items():
        condition = None if where is None else sa.text(where)
        op.create_index(name, "requests", columns, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "requests")
    op.drop_table("summaries")
    op.drop_column("files", "role")
    op.drop_column("requests", "effort")
    op.drop_column("requests", "pinned_at")


def _summarise(summaries: sa.Table) -> None:
    """One by one: an input may be 70 MB of data URI. Its prompt alone is kept, and not a private one."""
    connection = op.get_bind()
    seqs = connection.execute(
        sa.text("SELECT seq FROM requests WHERE EXISTS (SELECT 1 FROM payloads WHERE request_id = requests.id)")
    )
    payload = sa.text(
        "SELECT input, output, private, ephemeral FROM requests JOIN payloads ON request_id = id WHERE seq = :seq"
    )
    for (seq,) in seqs.fetchall():
        input, output, private, ephemeral = connection.execute(payload, {"seq": seq}).one()
        shown = {} if private else _made(None if ephemeral else output)
        prompt = None if private else _prompt(input)
        folded = None if prompt is None else prompt.casefold()
        connection.execute(summaries.insert().values(seq=seq, prompt=prompt, folded=folded, **shown))


def _prompt(input: str) -> str | None:
    found = _object(input).get("prompt")
    return found[:MAX_PROMPT] if isinstance(found, str) else None


def _made(output: str | None) -> dict[str, Any]:
    told = _object(output)
    video = told.get("video")
    numbers = {"seed": told.get("seed"), **(video if isinstance(video, dict) else {})}
    return {
        name: value
        for name in ("seed", "width", "height", "num_frames", "fps")
        if isinstance(value := numbers.get(name), int | float)
    }


def _object(text: str | None) -> dict[str, Any]:
    value = json.loads(text or "null")
    return value if isinstance(value, dict) else {}
