"""``stillmotion openapi`` and ``stillmotion llms``: the served documents on stdout, without a server."""

import sys
from urllib.parse import urlsplit

from stillmotion.endpoints.catalogue import catalogue
from stillmotion.endpoints.documents.render import Kind, render
from stillmotion.errors import ConfigurationError, NotFound
from stillmotion.settings import Settings


def print_document(kind: Kind, endpoint_id: str, *, url: str | None) -> int:
    """``url`` is where the document's links point; without it, where a server with these settings would listen."""
    endpoints = catalogue(Settings.load().endpoint_files)
    if endpoint_id not in endpoints:
        raise NotFound(f"no endpoint is called {endpoint_id!r}; there is {', '.join(endpoints)}")
    sys.stdout.write(render(kind, endpoints[endpoint_id], endpoints, _origin(url)))
    return 0


def _origin(url: str | None) -> str:
    if url is None:
        settings = Settings.load()
        return f"http://{settings.host}:{settings.port}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"{url!r} is not the http or https URL of a server")
    return url.rstrip("/")
