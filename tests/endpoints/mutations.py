"""Every attribute of every field of a document, changed one at a time.

Each mutation is the changed text and the beginning of the line with which the comparison must report it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_LLMS_FIELD = re.compile(r"- \*\*`(?P<name>\w+)`\*\* \(`(?P<type>[^`]+)`, _(?P<need>\w+)_\):")
_PAGE_FIELD = re.compile(r"(?P<name>\w+)\xa0(?P<type>ImageSize \| Enum|\w+)(?P<need>\* required)?")
_SECTIONS = {"### Input Schema": "input", "### Output Schema": "output", "Input#": "input", "Output#": "output"}
_EXAMPLES = {
    "**Required Parameters Example**:": "required_example",
    "**Full Example**:": "full_example",
    "**Example Response**:": "response_example",
}
_HEAD = {
    "# ": "title",
    "> ": "summary",
    "- **Model ID**": "id",
    "- **Category**": "category",
    "- **Kind**": "kind",
    "Your request will cost": "price",
}
_ADDED_FACTS = {"default": "  - Default: `77`", "range": "  - Range: `77` to `78`", "options": '  - Options: `"77"`'}


@dataclass(frozen=True)
class Mutation:
    text: str
    reported: str


@dataclass(frozen=True)
class _Block:
    """The lines of one field: ``lines[start:end]``."""

    section: str
    name: str
    start: int
    end: int


def mutations(text: str, *, page: bool) -> Iterator[Mutation]:
    lines = text.split("\n")
    blocks = list(_blocks(lines, _PAGE_FIELD if page else _LLMS_FIELD))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        body = lines[block.start : block.end]
        for changed, attribute in _field_mutations(body, page):
            reported = f"{block.section}.{block.name}.{attribute}" if attribute else f"{block.section}: order"
            yield Mutation(_join(lines, block.start, block.end, changed), reported)
        yield Mutation(_join(lines, block.start, block.end, []), f"{block.section}: order")
        if following and following.section == block.section:
            swapped = lines[following.start : following.end] + body
            yield Mutation(_join(lines, block.start, following.end, swapped), f"{block.section}: order")
    yield from _example_mutations(lines, page)
    for number, line in enumerate(lines):
        for beginning, attribute in _HEAD.items():
            if line.startswith(beginning) and not page:
                yield Mutation(_join(lines, number, number + 1, [line[:-1] + "~"]), attribute)


def _blocks(lines: list[str], pattern: re.Pattern[str]) -> Iterator[_Block]:
    section, open_block = None, None
    for number, line in enumerate([*lines, "#"]):
        heading = re.match(r"#|\*\*|\{|\w+#$|Related Models", line)
        match = pattern.fullmatch(line) if section else None
        if open_block and (match or heading):
            yield _Block(*open_block, number)
            open_block = None
        if heading and (line.endswith("#") or line.startswith("#")):
            section = _SECTIONS.get(line, line.rstrip("#") if re.fullmatch(r"\w+#", line) else None)
        if match:
            open_block = (section, match["name"], number)


def _field_mutations(body: list[str], page: bool) -> Iterator[tuple[list[str], str]]:
    """The field's lines with one thing changed, and the attribute that this changes ("" for the name)."""
    place = next(place for place, line in enumerate(body) if place and line)
    for changed, attribute in _header_mutations(body[0], page):
        yield [changed, *body[1:]], attribute
    for changed, attribute in _description_mutations(body[place], page):
        yield [*body[:place], changed, *body[place + 1 :]], attribute
    known = set()
    for number, line in enumerate(body[place + 1 :], place + 1):
        for changed, attribute in _fact_mutations(line):
            known.add(attribute)
            yield [*body[:number], *changed, *body[number + 1 :]], attribute
    if page:
        if "options" not in known:
            yield [*body[: place + 1], "", "Possible enum values: a, b", *body[place + 1 :]], "options"
        return
    for attribute, line in _ADDED_FACTS.items():
        if attribute not in known:
            yield [*body[: place + 1], line, *body[place + 1 :]], attribute


def _header_mutations(line: str, page: bool) -> Iterator[tuple[str, str]]:
    match = (_PAGE_FIELD if page else _LLMS_FIELD).fullmatch(line)
    name, kind = match["name"], match["type"]
    yield line.replace(name, name + "x", 1), ""
    others = {"string": "integer", "integer": "float", "float": "integer", "boolean": "string"}
    at = match.start("type")
    yield line[:at] + line[at:].replace(kind, others.get(kind, "Thing"), 1), "type"
    if page:
        yield line.removesuffix("* required") if match["need"] else line + "* required", "required"
    else:
        need = "optional" if match["need"] == "required" else "required"
        yield line.replace(f"_{match['need']}_", f"_{need}_"), "required"


def _description_mutations(line: str, page: bool) -> Iterator[tuple[str, str]]:
    prose, told, value = line.partition(" Default value: ")
    middle = len(prose) // 2
    yield prose[:middle] + "~" + prose[middle:] + told + value, "description"
    yield prose[:-1] + told + value, "description"
    if not told:
        yield prose + " Default value: " + ("7" if page else "`7`"), "told_default"
        return
    yield prose, "told_default"
    yield prose + told + ("~" + value if page else value[:-1] + "~`"), "told_default"


def _fact_mutations(line: str) -> Iterator[tuple[list[str], str]]:
    """The lines instead of ``line``, and the attribute that it tells."""
    label, _, value = line.removeprefix("  - ").partition(": ")
    attribute = label.lower().replace(" ", "_")
    match label:
        case "Default" | "Range":
            values = re.findall(r"`([^`]*)`", value)
            for number, each in enumerate(values):
                changed = [*values[:number], json.dumps(_other(json.loads(each)), ensure_ascii=False)]
                ticked = [f"`{one}`" for one in [*changed, *values[number + 1 :]]]
                yield [f"  - {label}: {' to '.join(ticked)}"], attribute
        case "Options" | "Possible enum values":
            attribute = "options"
            head, options = line[: -len(value)], value.split(", ")
            for number, each in enumerate(options):
                changed = each.replace('"`', 'x"`') if '"' in each else f"{each[:-1]}9{each[-1]}"
                yield [head + ", ".join([*options[:number], changed, *options[number + 1 :]])], attribute
                yield [head + ", ".join(options[:number] + options[number + 1 :])], attribute
            yield [head + ", ".join([options[1], options[0], *options[2:]])], attribute
            yield [head + ", ".join([*options, options[0]])], attribute
        case "Examples":
            yield [f"  - Examples: {json.dumps(_other(json.loads(value)), ensure_ascii=False)}"], attribute
        case "One of":
            yield [f"{line} | Thing"], attribute
        case _ if line.startswith("  - Array of "):
            attribute = "array_of"
            yield [f"{line}s"], attribute
        case _:
            return
    yield [], attribute


def _example_mutations(lines: list[str], page: bool) -> Iterator[Mutation]:
    """Each value of each JSON example, changed."""
    example = None
    for number, line in enumerate(lines):
        if line in _EXAMPLES:
            example = _EXAMPLES[line]
        elif page and line == "{":
            example = "response_example" if "Output#" in lines[:number] else "full_example"
            example = example if "5. Schema#" in lines[:number] else None
        elif line in ("```", "}"):
            example = None
        if example and (match := re.fullmatch(r'( *"\w+": )([^{\[].*?)(,?)', line)):
            other = json.dumps(_other(json.loads(match[2])), ensure_ascii=False)
            yield Mutation(_join(lines, number, number + 1, [match[1] + other + match[3]]), example)


def _other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "~"
        case dict():
            return {key: _other(each) for key, each in value.items()}
    raise TypeError(value)


def _join(lines: list[str], start: int, end: int, instead: list[str]) -> str:
    return "\n".join([*lines[:start], *instead, *lines[end:]])
