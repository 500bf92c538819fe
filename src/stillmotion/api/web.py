"""The playground's files over HTTP: one page, one script, one stylesheet, all of this server and named by content."""

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api.json import json_response
from stillmotion.api.web_script import link
from stillmotion.service.service import Service

FOLDER = Path(__file__).parents[1] / "web"
SCRIPT, OPERATIONS, PAGE = "app/main.js", "app/operations/main.js", "index.html"
"""Operators' pages have a script of their own: whoever makes videos does not load it."""
POLICY = (
    # Pictures and videos that a page has in memory before they are sent, or that came inside an answer.
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept-encoding",
}
PAGE_HEADERS = {
    **HEADERS,
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    # Names of files are as good as keys to them: they are not told to any other host.
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
FOREVER = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}

Access = Callable[[], Mapping[str, str]]
"""How a program of this machine reaches the server: ``https``, its URL, and ``ca``, the path of the certificates to
trust. Without them a program is told in words what to set."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent: its text packed once, and an entity tag that is its content's."""

    body: bytes
    packed: bytes
    type: str

    @classmethod
    def of(cls, text: str, type: str) -> "Asset":
        body = text.encode()
        # Without a time inside, so that the same text is the same bytes after every start.
        return cls(body, gzip.compress(body, 9, mtime=0), type)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:16]

    def response(self, request: Request, headers: Mapping[str, str]) -> Response:
        etag = f'"{self.digest}"'
        told = {**headers, "etag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=told)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, 200, {**told, "content-encoding": "gzip"}, self.type)
        return Response(self.body, 200, told, self.type)


def routes(service: Service, access: Access) -> list[Route]:
    """The playground. Raises ScriptError when its modules do not fit together."""
    app, board = (Asset.of(link(FOLDER, entry), "text/javascript") for entry in (SCRIPT, OPERATIONS))
    style = Asset.of("".join(path.read_text() for path in sorted((FOLDER / "style").glob("*.css"))), "text/css")
    icon = Asset.of((FOLDER / "icon.svg").read_text(), "image/svg+xml")
    named = {app: "app-{}.js", board: "operations-{}.js", style: "style-{}.css", icon: "icon-{}.svg"}
    assets = {name.format(each.digest): each for each, name in named.items()}
    urls = {each: f"/web/{name}" for name, each in assets.items()}

    def page_of(script: Asset) -> Asset:
        text = (FOLDER / PAGE).read_text()
        for mark, each in (("APP_JS", script), ("STYLE_CSS", style), ("ICON_SVG", icon)):
            text = text.replace(mark, urls[each])
        return Asset.of(text, "text/html")

    page, operators_page = page_of(app), page_of(board)

    async def home(request: Request) -> Response:
        return page.response(request, PAGE_HEADERS)

    async def playground(request: Request) -> Response:
        service.endpoint(request.path_params["endpoint"].rstrip("/"))
        return page.response(request, PAGE_HEADERS)

    async def operations(request: Request) -> Response:
        return operators_page.response(request, PAGE_HEADERS)

    async def asset(request: Request) -> Response:
        found = assets.get(request.path_params["name"])
        return found.response(request, FOREVER) if found else Response(status_code=404)

    async def told_access(request: Request) -> Response:
        return json_response(dict(access()), headers={"cache-control": "no-store"})

    return [
        Route("/", home, methods=["GET"]),
        Route("/compare", home, methods=["GET"]),
        Route("/web/access.json", told_access, methods=["GET"]),
        Route("/web/{name}", asset, methods=["GET"]),
        Route("/models/{endpoint:path}", playground, methods=["GET"]),
        Route("/operations", operations, methods=["GET"]),
    ]
