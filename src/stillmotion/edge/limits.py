"""The numbers that bound what one connection may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """Bounds of the HTTP protocol and of the way down. Seconds and bytes; the body's bounds are ``BodyLimit``'s.

    The first request of a connection has ``header_seconds`` from the moment the connection (its TLS handshake, on
    https) stands until its last header; a later one has them from its first byte, and ``idle_seconds`` before that.
    """

    header_seconds: float = 10.0
    header_bytes: int = 32 * 1024
    """Request line and headers of one request together; also what chunk framing and trailers may waste."""
    header_count: int = 100
    idle_seconds: int = 15
    pipelined: int = 16
    """Requests that may wait behind an unfinished response on the same connection."""
    stall_seconds: float = 60.0
    """How long a client may leave a response unread before its connection is cut."""
    linger_seconds: float = 2.0
    linger_bytes: int = 1024 * 1024
    """What is still read, and for how long, from a client that was already answered: closing a socket with unread
    bytes sends a reset, which may destroy the answer before the client has seen it."""
    connections_per_address: int | None = None
    """None is no bound: right on loopback and behind a reverse proxy, where every client has the same address."""
    websocket_message_bytes: int = 16 * 1024 * 1024
    backlog: int = 2048
    tls_handshake_seconds: float = 5.0
    tls_shutdown_seconds: float = 1.0
    tls_renewal_seconds: float = 24 * 3600.0
    """How often the certificate is looked at again: a server may run for longer than it is valid."""
    stop_seconds: float = 0.3
    """Each step of the way down: finish, be told, be cancelled, close."""
    lifespan_seconds: float = 30.0
    """How long the application's own shutdown may take."""
