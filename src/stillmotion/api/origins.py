"""Where the parts of this server stand, as the client that asks sees it: answers hold URLs that it can use."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True)
class Origins:
    """Bases of URLs, without a slash at the end."""

    site: str
    """Pages, documents and the platform API."""
    queue: str
    """Requests: an application's id follows."""
    files: str
    """``/files/NAME`` follows."""
    cdn: str
    """Where files are sent to, and where those are that were sent."""


def origins(request: HTTPConnection) -> Origins:
    """Everything under the scheme, host and port that the client wrote; or fal's own hosts, if it used one of them.

    For a websocket that is where http is spoken beside it."""
    scheme = request.scope["scheme"].replace("ws", "http", 1)
    if request.scope.get("fal_host"):
        cdn = f"{scheme}://v3.fal.media"
        return Origins(f"{scheme}://fal.ai", f"{scheme}://queue.fal.run", cdn, cdn)
    # The edge lets nothing in that has not exactly one host. Starlette's URL, made of its parts and parsed again, costs
    # 25 us.
    site = f"{scheme}://{request.headers['host']}"
    return Origins(site, f"{site}/queue", site, f"{site}/cdn")
