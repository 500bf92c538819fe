"""The endpoints' schemas, told as the documents tell them. Only what a document prints is filled in."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from documented import ABSENT, Document, Documented
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from stillmotion.endpoints.documents.facts import FACTS
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.endpoints.vocabulary import File, ImageSize, VideoFile

_TYPES = {"string": "string", "integer": "integer", "boolean": "boolean", "number": "float"}
_PAGE_TYPES = (File, ImageSize, VideoFile)


class _AsWritten(GenerateJsonSchema):
    """Keeps the order of keys in examples, which pydantic sorts."""

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


def schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=_AsWritten)


def as_llms(endpoint: Endpoint) -> Document:
    """``endpoint`` as an llms.txt tells it."""
    input, output = schema(endpoint.input), schema(endpoint.output)
    return Document(
        id=endpoint.id,
        title=endpoint.title,
        summary=endpoint.summary,
        category=FACTS[endpoint.id].category,
        kind=FACTS[endpoint.id].kind,
        price=endpoint.pricing.text,
        input=[_in_llms(each) for each in flat_facts(input)],
        output=[_in_llms(each) for each in flat_facts(output)],
        required_example=_example(input, input, required_only=True),
        full_example=_example(input, input),
        response_example=_example(output, output),
    )


def as_page(endpoint: Endpoint) -> Document:
    """``endpoint`` as its API page tells it."""
    input, output = schema(endpoint.input), schema(endpoint.output)
    return Document(
        id=endpoint.id,
        summary=endpoint.summary,
        input=[in_page(each) for each in flat_facts(input)],
        output=[in_page(each) for each in flat_facts(output)],
        types={each.__name__: [in_page(field) for field in flat_facts(schema(each))] for each in _PAGE_TYPES},
        full_example=_example(input, input),
        response_example=_example(output, output),
    )


def flat_facts(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema's fields as flat facts, null left out of the types."""
    for name, told in schema["properties"].items():
        branches = [branch for branch in told.get("anyOf", [told]) if branch.get("type") != "null"]
        known = {**told, **(branches[0] if len(branches) == 1 else {}), "name": name, "branches": branches}
        yield {**known, "required": name in schema.get("required", ())}


def _in_llms(facts: Mapping[str, Any]) -> Documented:
    union = len(facts["branches"]) > 1
    bounded = "minimum" in facts or "maximum" in facts
    default = facts.get("default")
    return Documented(
        **_common(facts),
        told_default=f"`{_told(facts)}`" if default else ABSENT,
        default=ABSENT if default is None else default,
        range=(facts["minimum"], facts["maximum"]) if bounded else ABSENT,
        options=tuple(facts["enum"]) if "enum" in facts else ABSENT,
        examples=facts.get("examples", ABSENT),
        one_of=_type(facts) if union else ABSENT,
        array_of=_reference(facts["items"]) if facts.get("type") == "array" else ABSENT,
    )


def in_page(facts: Mapping[str, Any]) -> Documented:
    """A field as the page tells it, which has no ranges."""
    assert not {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} & facts.keys()
    values = tuple(value for branch in facts["branches"] for value in branch.get("enum", ()))
    return Documented(
        **_common(facts),
        told_default=_told(facts) if facts.get("default") else ABSENT,
        options=values or ABSENT,
    )


def _common(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("name", "required", "description")} | {"type": _type(facts)}


def _told(facts: Mapping[str, Any]) -> str:
    """Enums are told in quotes, also those of numbers; a union is told bare."""
    default = facts["default"]
    if len(facts["branches"]) > 1:
        return str(default)
    return json.dumps(str(default) if "enum" in facts else default)


def _type(facts: Mapping[str, Any]) -> str:
    if len(facts.get("branches", ())) > 1:
        return " | ".join("Enum" if "enum" in branch else _reference(branch) for branch in facts["branches"])
    if "$ref" in facts:
        return _reference(facts)
    if "enum" in facts:
        return facts["title"].replace(" ", "") + "Enum"
    return f"list<{_reference(facts['items'])}>" if facts["type"] == "array" else _TYPES[facts["type"]]


def _reference(schema: Mapping[str, Any]) -> str:
    return schema["$ref"].rpartition("/")[2]


def _example(root: Mapping[str, Any], schema: Mapping[str, Any], *, required_only: bool = False) -> dict[str, Any]:
    """What the documents show: examples, else defaults, without those that are 0, false or null."""
    shown = {}
    for facts in flat_facts(schema):
        if required_only and not facts["required"]:
            continue
        value = _value(root, facts)
        if value or value == "":
            shown[facts["name"]] = value
    return shown


def _value(root: Mapping[str, Any], facts: Mapping[str, Any]) -> Any:
    if "examples" in facts:
        return facts["examples"][0]
    if not facts["required"]:
        return facts["default"]
    if "$ref" in facts:
        return _example(root, root["$defs"][_reference(facts)])
    if facts["type"] == "array":
        return [_example(root, root["$defs"][_reference(facts["items"])])]
    return {"string": "", "integer": 0}[facts["type"]]
