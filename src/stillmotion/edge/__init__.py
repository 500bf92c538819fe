"""The network edge: sockets, the guarded HTTP protocol and the ASGI middleware that stands before the application.

Knows nothing of requests, endpoints or files; it imports ``errors``, ``tls`` and third-party packages only.
"""

from stillmotion.edge.body import BodyLimit, by_prefix
from stillmotion.edge.limits import EdgeLimits
from stillmotion.edge.origin import OriginGuard
from stillmotion.edge.request_id import RequestId
from stillmotion.edge.server import run, serve
from stillmotion.edge.sockets import Address, Listener

__all__ = ["Address", "BodyLimit", "EdgeLimits", "Listener", "OriginGuard", "RequestId", "by_prefix", "run", "serve"]
