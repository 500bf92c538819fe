"""The tables, declared once for every database. Alembic's migrations are compared with this module by a test.

``requests`` holds what every poll reads and stays narrow; the JSON documents, which may be megabytes (data URIs), lie
in ``payloads``, one row per request. Times are unix seconds.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

requests = Table(
    "requests",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("tenant", String(64), nullable=False),
    Column("app", String(200), nullable=False),
    Column("endpoint", String(200), nullable=False),
    # "queue" outlives its connection; "run" was asked for over one connection and ends with it.
    Column("origin", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("inference_seconds", Float),
    Column("model", String(200)),
    # Of a success that was to be checked: "checked" or "unchecked". Null: its caller did not ask for the checker.
    Column("safety", String(16)),
    # Of a success: what the network computed, which may be smaller than what is delivered.
    Column("computed", String(32)),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    # Set while running. Every write by the runner names both lease and attempt.
    Column("lease", String(36)),
    Column("lease_expires", Float),
    Column("error", Text),
    # The kind of ``error`` again, so that a listing can ask for it.
    Column("error_kind", String(40)),
    # What a success costs: decimals as text, because neither database sums floats exactly. Null: not priced.
    Column("quantity", String(40)),
    Column("unit", String(16)),
    Column("unit_price", String(40)),
    Column("cost", String(40)),
    Column("gpu_seconds", Float),
    # The output is for one reader only: deleted once it was read, at ``forget_at`` at the latest.
    Column("ephemeral", Boolean, nullable=False, server_default=false()),
    Column("forget_at", Float),
    # A digest of the LoRAs that the request needs: an engine that has them merged takes it first.
    Column("weights", String(32), nullable=False, server_default=""),
    # 0 normal, 1 low: all of a lower number go before any of a higher one.
    Column("priority", Integer, nullable=False, server_default="0"),
    # Waiting longer than until then ends it. Null: waits for as long as it takes.
    Column("start_by", Float),
    # Its input goes when it has ended, its output at ``forget_at``; neither is in the history.
    Column("private", Boolean, nullable=False, server_default=false()),
    # Seconds that its output files are kept. Null: for ever.
    Column("file_seconds", Float),
    # A JSON object of the caller's own words.
    Column("tags", Text),
    # Which engine took it last.
    Column("engine", String(64)),
    # Small pictures are to be made of it while it is worked at.
    Column("preview", Boolean, nullable=False, server_default=false()),
    # When its owner marked it. Null: not marked.
    Column("pinned_at", Float),
    # Of a success: how much was computed, as a class of like works; service/expectation.py.
    Column("effort", String(24)),
    # Who may read its output files, as JSON. Null: as the server is set.
    Column("acl", Text),
    # How long a success plays. Null: not known.
    Column("video_seconds", Float),
    CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
    CheckConstraint("(state = 'running') = (lease IS NOT NULL)", name="lease"),
    sqlite_autoincrement=True,
)
# Partial indexes: a claim and a recovery look only at waiting and running rows, however many are finished.
Index(
    "ix_requests_queued",
    requests.c.priority,
    requests.c.seq,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)
Index(
    "ix_requests_waiting",
    requests.c.endpoint,
    requests.c.priority,
    requests.c.seq,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)
Index(
    "ix_requests_warm",
    requests.c.endpoint,
    requests.c.weights,
    requests.c.priority,
    requests.c.seq,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)
Index(
    "ix_requests_start_by",
    requests.c.start_by,
    sqlite_where=text("state = 'queued' AND start_by IS NOT NULL"),
    postgresql_where=text("state = 'queued' AND start_by IS NOT NULL"),
)
Index(
    "ix_requests_running",
    requests.c.lease_expires,
    sqlite_where=text("state = 'running'"),
    postgresql_where=text("state = 'running'"),
)
# A listing is one range of this index per endpoint, however many requests the others have.
Index("ix_requests_ended", requests.c.tenant, requests.c.endpoint, requests.c.ended_at)
# A page of the history is one range of one of these three, newest first.
Index("ix_requests_history", requests.c.tenant, requests.c.created_at, requests.c.seq)
Index("ix_requests_history_of", requests.c.tenant, requests.c.endpoint, requests.c.created_at, requests.c.seq)
Index(
    "ix_requests_pinned",
    requests.c.tenant,
    requests.c.created_at,
    requests.c.seq,
    sqlite_where=text("pinned_at IS NOT NULL"),
    postgresql_where=text("pinned_at IS NOT NULL"),
)
Index(
    "ix_requests_effort",
    requests.c.endpoint,
    requests.c.model,
    requests.c.effort,
    requests.c.seq,
    sqlite_where=text("effort IS NOT NULL"),
    postgresql_where=text("effort IS NOT NULL"),
)
Index(
    "ix_requests_forget",
    requests.c.forget_at,
    sqlite_where=text("forget_at IS NOT NULL"),
    postgresql_where=text("forget_at IS NOT NULL"),
)

payloads = Table(
    "payloads",
    metadata,
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("input", Text, nullable=False),
    Column("output", Text),
)

# What a listing shows of a request without opening its payloads. It goes with them: what was deleted is not listed.
summaries = Table(
    "summaries",
    metadata,
    Column("seq", Integer, ForeignKey("requests.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    # As it was sent, and folded for a search that does not ask for capitals. Null: private, or none was sent.
    Column("prompt", Text),
    Column("folded", Text),
    # Of a success.
    Column("seed", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("num_frames", Integer),
    Column("fps", Float),
)

logs = Table(
    "logs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("at", Float, nullable=False),
    Column("level", String(8), nullable=False),
    Column("message", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_logs_request", logs.c.request_id, logs.c.seq)

files = Table(
    "files",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="SET NULL")),
    Column("tenant", String(64), nullable=False),
    Column("content_type", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    # Of an upload: what its sender called it.
    Column("file_name", String(100)),
    # Deleted then. Null: kept.
    Column("expires_at", Float),
    # What it is to its request: "output", "poster" or "playable". Null: an upload.
    Column("role", String(8)),
    # Who may read it besides its tenant, as JSON. Null: as the server is set.
    Column("acl", Text),
)
Index("ix_files_request", files.c.request_id)
Index(
    "ix_files_expires",
    files.c.expires_at,
    sqlite_where=text("expires_at IS NOT NULL"),
    postgresql_where=text("expires_at IS NOT NULL"),
)

# Uploads that take more than one request. Whoever knows the id may send: it is the secret in the upload's URL.
uploads = Table(
    "uploads",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    # The name in ``files`` that it will have.
    Column("file", String(64), nullable=False),
    Column("file_name", String(100), nullable=False),
    Column("content_type", String(255), nullable=False),
    # Seconds that the file is kept from its end on. Null: for ever.
    Column("lifetime", Float),
    Column("multipart", Boolean, nullable=False),
    # "open" takes bytes; "sealed" has a fixed list of parts, which are being joined; "complete" stays until
    # ``expires_at``, for a client that missed the answer and asks again.
    Column("state", String(8), nullable=False),
    Column("expires_at", Float, nullable=False),
    # Of the file that it will be.
    Column("acl", Text),
    CheckConstraint("state IN ('open', 'sealed', 'complete')", name="state"),
)
Index("ix_uploads_expires", uploads.c.expires_at)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("upload_id", String(40), ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # Its file in the upload's folder.
    Column("file", String(40), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", String(40), nullable=False),
)

# The outbox: a row comes with its request, and is due from the very transaction on that ends the request.
webhooks = Table(
    "webhooks",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("tenant", String(64), nullable=False),
    Column("url", Text, nullable=False),
    # That of the URL, so that deliveries to one host never keep another's waiting.
    Column("host", String(253), nullable=False),
    # Where the client that submitted reaches files: their URLs in the payload begin with it.
    Column("origin", Text, nullable=False),
    Column("state", String(16), nullable=False),
    # Deliveries ever begun; the newest one's number is its fence.
    Column("attempt", Integer, nullable=False),
    # Of the present schedule: a redelivery begins it anew.
    Column("failures", Integer, nullable=False),
    # On the wall clock, because the schedule outlives the process and the machine's uptime.
    Column("due_at", Float),
    # Set while a delivery is under way, on the clock of the requests' leases.
    Column("lease_expires", Float),
    CheckConstraint("state IN ('waiting', 'pending', 'delivered', 'failed')", name="state"),
    CheckConstraint("(state = 'pending') = (due_at IS NOT NULL OR lease_expires IS NOT NULL)", name="pending"),
    sqlite_autoincrement=True,
)
Index("ix_webhooks_tenant", webhooks.c.tenant, webhooks.c.seq)
Index(
    "ix_webhooks_due",
    webhooks.c.due_at,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)
Index(
    "ix_webhooks_due_at_host",
    webhooks.c.host,
    webhooks.c.due_at,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)
Index(
    "ix_webhooks_leased",
    webhooks.c.lease_expires,
    sqlite_where=text("lease_expires IS NOT NULL"),
    postgresql_where=text("lease_expires IS NOT NULL"),
)

# What came of each delivery.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("seconds", Float),
    Column("status", Integer),
    Column("error", String(16)),
    Column("next_at", Float),
    sqlite_autoincrement=True,
)
Index("ix_webhook_deliveries_request", webhook_deliveries.c.request_id, webhook_deliveries.c.seq)

keys = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("scope", String(8), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    CheckConstraint("scope IN ('api', 'admin')", name="scope"),
)

# Which request a client meant by an Idempotency-Key, for as long as it may send it again.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    # SHA-256 of what was asked for: the same key with anything else is refused.
    Column("digest", String(64), nullable=False),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", Float, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_idempotency_keys_expires", idempotency_keys.c.expires_at)

# Requests whose submit was not answered, as far as anybody knows. Every submit without a key begins here and is gone
# when its reply was written, so that there is one tree of few pages: its primary key.
unanswered = Table(
    "unanswered",
    metadata,
    # SHA-256 of what was asked for and by whom.
    Column("digest", String(64), primary_key=True),
    Column("request_id", String(36), ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    # The id that the last POST for it had ready, in case it were a new one: tells the POSTs for a request apart.
    Column("holder", String(36), nullable=False),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)
