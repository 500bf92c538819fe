"""Reader of fal's llms.txt documents. Every line of the schema sections is understood, or reading fails."""

import re
from collections.abc import Iterator
from typing import Any

from documented import Document, Documented, UnreadLine, read_json

_FIELD = re.compile(r"- \*\*`(\w+)`\*\* \(`([^`]+)`, _(required|optional)_\):")
_TOLD = re.compile(r"(.*?) Default value: (`.*`)")
_HEADINGS = {
    "input": "### Input Schema\n\nThe API accepts the following input parameters:\n",
    "required_example": "**Required Parameters Example**:\n",
    "full_example": "**Full Example**:\n",
    "output": "### Output Schema\n\nThe API returns the following output format:\n",
    "response_example": "**Example Response**:\n",
    "rest": "## Usage Examples\n",
}


def read_llms(text: str) -> Document:
    """Raises UnreadLine."""
    head, sections = _cut(text)
    document = Document(
        **_head(head),
        input=list(_fields(sections["input"])),
        output=list(_fields(sections["output"])),
    )
    for name in ("required_example", "full_example", "response_example"):
        setattr(document, name, _json_block(sections[name]))
    return document


def _cut(text: str) -> tuple[str, dict[str, str]]:
    """The text before the input schema, and the text between each heading and the next."""
    sections, rest, previous = {}, text, "head"
    for name, heading in _HEADINGS.items():
        sections[previous], found, rest = rest.partition(heading)
        if not found:
            raise UnreadLine(f"no {heading!r}")
        previous = name
    return sections.pop("head"), sections


def _head(text: str) -> dict[str, str]:
    patterns = {
        "title": r"\A# (.*)\n",
        "summary": r"\n> (.*)\n",
        "id": r"\n- \*\*Model ID\*\*: `(.*)`\n",
        "category": r"\n- \*\*Category\*\*: (.*)\n",
        "kind": r"\n- \*\*Kind\*\*: (.*)\n",
        "price": r"\n## Pricing\n\n((?:.*\n)+?)\nFor more details, see \[fal.ai pricing\]",
    }
    found = {}
    for name, pattern in patterns.items():
        match = re.search(pattern, text)
        if match is None:
            raise UnreadLine(f"no {name}")
        found[name] = match[1]
    # The paragraph's own line break is layout; one that comes before it is part of the text.
    found["price"] = found["price"].removesuffix("\n")
    if f"- **Endpoint**: `https://fal.run/{found['id']}`\n" not in text:
        raise UnreadLine("the Endpoint line names another id")
    return found


def _fields(text: str) -> Iterator[Documented]:
    lines = [line for line in text.split("\n") if line]
    while lines:
        match = _FIELD.fullmatch(lines.pop(0))
        if match is None or not lines:
            raise UnreadLine(f"expected a field before {lines[:1]}")
        known = _description(lines.pop(0))
        while lines and lines[0].startswith("  - "):
            known |= _fact(lines.pop(0)[4:], known)
        yield Documented(name=match[1], type=match[2], required=match[3] == "required", **known)
        if lines and not lines[0].startswith("- **`"):
            raise UnreadLine(lines[0])


def _description(line: str) -> dict[str, Any]:
    if not line.startswith("  ") or line.startswith("  - "):
        raise UnreadLine(line)
    told = _TOLD.fullmatch(line[2:])
    return {"description": told[1], "told_default": told[2]} if told else {"description": line[2:]}


def _fact(line: str, known: dict[str, Any]) -> dict[str, Any]:
    label, _, value = line.partition(": ")
    match label:
        case "Default":
            fact = {"default": _ticked(value)}
        case "Range":
            low, _, high = value.partition(" to ")
            fact = {"range": (_ticked(low), _ticked(high))}
        case "Options":
            fact = {"options": tuple(map(_ticked, value.split(", ")))}
        case "Examples":
            fact = {"examples": [read_json(value)]}
        case "One of":
            fact = {"one_of": value}
        case _ if line.startswith("Array of "):
            fact = {"array_of": line.removeprefix("Array of ")}
        case _:
            raise UnreadLine(line)
    if fact.keys() & known.keys():
        raise UnreadLine(f"twice: {line}")
    return fact


def _ticked(text: str) -> Any:
    """The JSON value between backticks."""
    if not re.fullmatch(r"`[^`]*`", text):
        raise UnreadLine(text)
    return read_json(text.strip("`"))


def _json_block(text: str) -> Any:
    match = re.fullmatch(r"\s*```json\n(.*)\n```\s*", text, re.DOTALL)
    if match is None:
        raise UnreadLine(text)
    return read_json(match[1])
