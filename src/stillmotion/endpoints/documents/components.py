"""The schemas of an endpoint as fal writes them: the one source of all generated documents.

Pydantic's JSON schema with fal's habits: an optional field is its type without ``null`` and without a null default, a
reference stands in ``allOf`` beside its description, and ``x-fal-order-properties`` names the order of the fields.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from stillmotion.endpoints.documents.facts import facts_of
from stillmotion.endpoints.endpoint import Endpoint

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/"


class _InOrder(GenerateJsonSchema):
    """Keys stay as they were written: the documents print examples in an order of their own."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value


def component_names(endpoint_id: str) -> tuple[str, str]:
    """Names of the input and output schema: ``fal-ai/ltx-2-19b/image-to-video`` gives ``Ltx219bImageToVideoInput``."""
    words = re.split(r"[^A-Za-z0-9]+", endpoint_id.partition("/")[2])
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return f"{name}Input", f"{name}Output"


def components(endpoint: Endpoint) -> dict[str, Schema]:
    """Input, output, then in alphabetical order every type that they refer to or that the page lists besides."""
    models = (endpoint.input, endpoint.output, *facts_of(endpoint.id).also)
    places, generated = models_json_schema(
        [(model, "validation") for model in models],
        by_alias=False,
        ref_template=REFERENCE + "{model}",
        schema_generator=_InOrder,
    )
    found: dict[str, Schema] = generated["$defs"]
    named = {}
    for name, model in zip(component_names(endpoint.id), models[:2], strict=True):
        named[name] = _object(found.pop(referred(places[model, "validation"])))
        named[name]["title"] = name
    return named | {name: _object(found[name]) for name in sorted(found)}


def referred(schema: Mapping[str, Any]) -> str:
    """The name of the component that a reference means."""
    reference: str = schema["$ref"]
    return reference.removeprefix(REFERENCE)


def _object(schema: Schema) -> Schema:
    properties = {name: _property(each) for name, each in schema["properties"].items()}
    # Docstrings of ours are for readers of the code; fal's components have no description.
    kept = {key: value for key, value in schema.items() if key in ("title", "type", "required")}
    return {"x-fal-order-properties": list(properties), **kept, "properties": properties}


def _property(generated: Schema) -> Schema:
    schema = dict(generated)
    if "anyOf" in schema:
        branches = [branch for branch in schema.pop("anyOf") if branch.get("type") != "null"]
        schema |= branches[0] if len(branches) == 1 else {"anyOf": branches}
    if "$ref" in schema:
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.get("default", ...) is None:
        del schema["default"]
    return {key: _plain(value) for key, value in schema.items()}


def _plain(value: Any) -> Any:
    """Whole floats as the documents print them: 1, not 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
