"""The pages for people: one for each endpoint, and the list of all. They need no script."""

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from stillmotion.endpoints.documents.components import component_names, components
from stillmotion.endpoints.documents.facts import facts_of
from stillmotion.endpoints.documents.fields import required_example
from stillmotion.endpoints.documents.guide import guide
from stillmotion.endpoints.documents.html import Node, document, tag
from stillmotion.endpoints.documents.links import Links
from stillmotion.endpoints.documents.reference import reference
from stillmotion.endpoints.endpoint import Endpoint


def page(endpoint: Endpoint, related: Iterable[Endpoint], origin: str) -> str:
    """What fal's "API" page tells about ``endpoint``, in the same order; ``related`` is listed at its end."""
    links, facts, schemas = Links(origin, endpoint.id), facts_of(endpoint.id), components(endpoint)
    input, output = component_names(endpoint.id)
    return document(
        f"{endpoint.title} ({endpoint.id})",
        _navigation(origin, links),
        tag(
            "main",
            tag("h1", endpoint.id),
            tag("p", endpoint.summary, class_="summary"),
            tag(
                "ul",
                tag("li", facts.kind.capitalize()),
                tag("li", tag("a", "Schema", href=links.openapi)),
                tag("li", tag("a", "llms.txt", href=links.llms)),
                class_="badges",
            ),
            tag("h2", "About"),
            tag("p", facts.about or endpoint.summary),
            *guide(endpoint.id, required_example(schemas, input)),
            *reference(schemas, input, output),
            tag("h2", "Related Models"),
            tag("ul", *_list(related, origin), class_="models"),
        ),
    )


def index(endpoints: Iterable[Endpoint], origin: str) -> str:
    """The list of the endpoints that this server has."""
    return document(
        "Models",
        _navigation(origin),
        tag("main", tag("h1", "Models"), tag("ul", *_list(endpoints, origin), class_="models")),
    )


def _navigation(origin: str, links: Links | None = None) -> Element:
    places: list[Node] = [tag("a", "Stillmotion", href=f"{origin}/models")]
    if links:
        places += [
            tag("a", text, href=f"#{id}")
            for text, id in (("Calling", "calling"), ("Queue", "queue"), ("Files", "files"), ("Schema", "schema"))
        ]
    return tag("nav", *places)


def _list(endpoints: Iterable[Endpoint], origin: str) -> Iterator[Element]:
    for endpoint in endpoints:
        links = Links(origin, endpoint.id)
        yield tag(
            "li",
            tag("p", tag("a", endpoint.title, href=links.api), " ", tag("code", endpoint.id)),
            tag("p", endpoint.summary),
        )
