"""Reader of the text of fal's API page. Every line of its schema section is understood, or reading fails.

The page prints no ranges, no examples beside the fields, and only defaults other than 0, false and null.
"""

import re
from collections.abc import Iterator
from typing import Any

from documented import Document, Documented, UnreadLine, read_json

# Name and type stand apart by a no-break space.
_FIELD = re.compile(r"(\w+)\xa0(ImageSize \| Enum|\w+)(\* required)?")
_TOLD = re.compile(r"(.*?) Default value: (.*)")
_VALUES = "Possible enum values: "
_NOTE = """\
Note: For custom image sizes, you can pass the width and height as an object:

"image_size": {
  "width": 1280,
  "height": 720
}
"""


def read_page(text: str) -> Document:
    """Raises UnreadLine."""
    head, _, rest = text.partition("\n5. Schema#\n\nInput#\n\n")
    input, _, rest = rest.partition("\nOutput#\n\n")
    output, _, rest = rest.partition("\nOther types#\n\n")
    types, end, _ = rest.partition("\nRelated Models")
    if not end:
        raise UnreadLine("a heading is missing")
    inputs, full_example = _example(input)
    outputs, response_example = _example(output)
    id, _, summary = head.split("\n")[:3]
    return Document(
        id=id,
        summary=summary,
        input=list(_fields(_without_note(inputs))),
        output=list(_fields(outputs)),
        types=dict(_types(types)),
        full_example=full_example,
        response_example=response_example,
    )


def _without_note(text: str) -> str:
    """The page shows this note, with a name that is not the field's, wherever a size may be custom."""
    before, found, after = text.partition(_NOTE)
    if not found or not before.rstrip().split("\n")[-1].startswith(_VALUES):
        raise UnreadLine("the note about custom sizes does not follow the size's values")
    return before + after


def _example(text: str) -> tuple[str, Any]:
    match = re.fullmatch(r"(.*\n\n)(\{\n.*\n\})\n", text, re.DOTALL)
    if match is None:
        raise UnreadLine("no example at the end of the section")
    return match[1], read_json(match[2])


def _types(text: str) -> Iterator[tuple[str, list[Documented]]]:
    parts = re.split(r"^(\w+)#\n", text, flags=re.MULTILINE)
    if parts[0].strip():
        raise UnreadLine(parts[0])
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        yield name, list(_fields(body))


def _fields(text: str) -> Iterator[Documented]:
    lines = [line for line in text.split("\n") if line]
    while lines:
        match = _FIELD.fullmatch(lines.pop(0))
        if match is None or not lines or _FIELD.fullmatch(lines[0]):
            raise UnreadLine(f"expected a field before {lines[:1]}")
        known: dict[str, Any] = {"description": lines.pop(0)}
        if told := _TOLD.fullmatch(known["description"]):
            known = {"description": told[1], "told_default": told[2]}
        if lines and lines[0].startswith(_VALUES):
            known["options"] = tuple(lines.pop(0).removeprefix(_VALUES).split(", "))
        yield Documented(name=match[1], type=match[2], required=bool(match[3]), **known)
