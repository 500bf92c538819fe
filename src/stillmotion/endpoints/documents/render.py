"""The generated documents by kind, as the text that is served and printed."""

from collections.abc import Mapping
from typing import Literal

from stillmotion.endpoints.documents import snippets
from stillmotion.endpoints.documents.llms import llms
from stillmotion.endpoints.documents.openapi import openapi
from stillmotion.endpoints.documents.page import page
from stillmotion.endpoints.endpoint import Endpoint

Kind = Literal["openapi", "llms", "page"]


def render(kind: Kind, endpoint: Endpoint, catalogue: Mapping[str, Endpoint], origin: str) -> str:
    """JSON, Markdown or HTML about ``endpoint``. ``origin`` is ``scheme://host[:port]``, where its links point."""
    match kind:
        case "openapi":
            return snippets.as_indented_json(openapi(endpoint, origin)) + "\n"
        case "llms":
            return llms(endpoint, origin)
        case "page":
            return page(endpoint, [each for each in catalogue.values() if each.id != endpoint.id], origin)
