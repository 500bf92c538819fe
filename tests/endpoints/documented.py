"""What a document says, as values: the common ground on which documents and schemas are compared."""

import json
from dataclasses import dataclass, field, fields
from typing import Any

ABSENT = "absent"


class UnreadLine(AssertionError):
    """A line of a schema section that the reader does not understand."""


def read_json(text: str) -> Any:
    """The value of JSON text in which no key comes twice. Raises UnreadLine."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise UnreadLine(f"a key comes twice in {text}")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=members)
    except ValueError as error:
        raise UnreadLine(f"{text}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Documented:
    """One field. What the document does not print is ``ABSENT``; a default may well be ``None`` or ``""``."""

    name: str
    type: str
    required: bool
    description: str
    told_default: str = ABSENT
    """The default as the prose repeats it, backticks and quotes as printed."""
    default: Any = ABSENT
    range: Any = ABSENT
    options: Any = ABSENT
    examples: Any = ABSENT
    one_of: str = ABSENT
    array_of: str = ABSENT


@dataclass(kw_only=True)
class Document:
    id: str
    title: str = ABSENT
    summary: str
    category: str = ABSENT
    kind: str = ABSENT
    price: str = ABSENT
    input: list[Documented] = field(default_factory=list)
    output: list[Documented] = field(default_factory=list)
    types: dict[str, list[Documented]] = field(default_factory=dict)
    required_example: Any = ABSENT
    full_example: Any = ABSENT
    response_example: Any = ABSENT

    @property
    def sections(self) -> dict[str, list[Documented]]:
        return {"input": self.input, "output": self.output, **self.types}


def differences(printed: Document, ours: Document) -> list[str]:
    """One line per thing that differs; ``input.fps.default: 24, ours 25``."""
    found = []
    for each in fields(Document):
        if each.name in ("input", "output", "types"):
            continue
        theirs, mine = getattr(printed, each.name), getattr(ours, each.name)
        if not same(theirs, mine):
            found.append(f"{each.name}: {theirs!r}, ours {mine!r}")
    for section, listed in printed.sections.items():
        found += _compare(section, listed, ours.sections.get(section, []))
    found += [f"{section}: not in the document" for section in ours.sections.keys() - printed.sections.keys()]
    return found


def same(theirs: Any, mine: Any) -> bool:
    """Equal as JSON text: the keys in the same order, and ``true`` is not 1."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        return list(theirs) == list(mine) and all(same(value, mine[key]) for key, value in theirs.items())
    if isinstance(theirs, (list, tuple)) and isinstance(mine, (list, tuple)):
        return len(theirs) == len(mine) and all(map(same, theirs, mine))
    return isinstance(theirs, bool) == isinstance(mine, bool) and theirs == mine


def _compare(section: str, printed: list[Documented], ours: list[Documented]) -> list[str]:
    names, own = [each.name for each in printed], {each.name: each for each in ours}
    found = [f"{section}: order {names}, ours {list(own)}"] if names != [each.name for each in ours] else []
    for each in printed:
        if each.name not in own:
            found.append(f"{section}.{each.name}: missing")
            continue
        for attribute in fields(Documented):
            theirs, mine = getattr(each, attribute.name), getattr(own[each.name], attribute.name)
            if not same(theirs, mine):
                found.append(f"{section}.{each.name}.{attribute.name}: {theirs!r}, ours {mine!r}")
    return found
