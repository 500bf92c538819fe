"""HTML as a tree of the standard library: what goes in as text comes out escaped, whatever it holds."""

import re
from xml.etree.ElementTree import Element, tostring

Node = Element | str


def tag(name: str, /, *children: Node, **attributes: str) -> Element:
    """An element; an attribute that is a word of Python is written with an underscore after it."""
    element = Element(name, {key.rstrip("_"): value for key, value in attributes.items()})
    last: Element | None = None
    for child in children:
        if not isinstance(child, str):
            element.append(child)
            last = child
        elif last is None:
            element.text = (element.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return element


def prose(markdown: str) -> list[Node]:
    """Text with its `code` marked up, the only Markdown that the descriptions use."""
    parts = re.split(r"`([^`]*)`", markdown)
    return [tag("code", part) if index % 2 else part for index, part in enumerate(parts)]


def document(title: str, *body: Node) -> str:
    """A whole page; its only outside part is the stylesheet of the same origin."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", title),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="stylesheet", href="/models/style.css"),
    )
    page = tag("html", head, tag("body", *body), lang="en")
    return "<!doctype html>\n" + tostring(page, encoding="unicode", method="html") + "\n"
