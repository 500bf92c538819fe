"""fal's host names, and where their paths lie on this server: for programs that reach it under fal's own names."""

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIXES = {
    "fal.run": "/run",
    "queue.fal.run": "/queue",
    "falrun.com": "/run",
    "queue.falrun.com": "/queue",
    "rest.fal.ai": "/rest",
    "rest.alpha.fal.ai": "/rest",
    "api.fal.ai": "",
    "fal.ai": "",
}
CDN_SUFFIX, CDN_PREFIX = ".fal.media", "/cdn"

CERTIFICATE_NAMES = (
    "fal.run",
    "*.fal.run",
    "falrun.com",
    "*.falrun.com",
    "rest.fal.ai",
    "rest.alpha.fal.ai",
    "api.fal.ai",
    "fal.ai",
    "*.fal.media",
)
"""What a certificate for all of them says."""

_WHOLE_DOMAINS = (".fal.run", ".falrun.com", CDN_SUFFIX)


def is_fals(host: str) -> bool:
    """Whether ``host`` (no port) is one of the names that fal's clients ask; no other name of fal's is."""
    host = host.lower().removesuffix(".")
    return host in PREFIXES or host.endswith(_WHOLE_DOMAINS)


class FalHosts:
    """Puts the prefix of a fal host before the path: ``queue.fal.run/x`` is ``/queue/x``.

    ``scope["fal_host"]`` is True then, for answers that hold URLs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
            if is_fals(name):
                prefix = prefix_of(name)
                scope = {
                    **scope,
                    "fal_host": True,
                    "path": prefix + scope["path"],
                    "raw_path": prefix.encode() + scope["raw_path"],
                }
        await self.app(scope, receive, send)


def prefix_of(host: str) -> str:
    """What stands before the path of a URL of fal's; ``host`` is one of its names."""
    host = host.lower().removesuffix(".")
    if host.endswith(CDN_SUFFIX):
        return CDN_PREFIX
    # ws.fal.run and whatever comes later answer as the host they extend.
    return PREFIXES.get(host, "/run")
