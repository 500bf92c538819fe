"""Fields as the documents tell them: type names, defaults, examples. Read from the components, not from the models."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stillmotion.endpoints.documents.components import Schema, referred

_TYPES = {"number": "float"}


@dataclass(frozen=True, slots=True)
class Field:
    """One property of a component."""

    name: str
    required: bool
    schema: Mapping[str, Any]

    @property
    def types(self) -> tuple[str, ...]:
        """Names of its types; several for a union."""
        return tuple(_type(branch, self.schema["title"]) for branch in self._branches)

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of an enum, also of one in a union."""
        return tuple(value for branch in self._branches for value in branch.get("enum", ()))

    @property
    def is_union(self) -> bool:
        return "anyOf" in self.schema

    @property
    def item(self) -> str | None:
        """The type of a list's items."""
        return _type(self.schema["items"], "") if self.schema.get("type") == "array" else None

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Least and largest number that is valid."""
        return self.schema.get("minimum"), self.schema.get("maximum")

    @property
    def description(self) -> str:
        """Markdown. fal's sentence about the default stands behind it, unless that is 0, false or null."""
        described: str = self.schema.get("description", "")
        default = self.schema.get("default")
        return f"{described} Default value: `{self._told(default)}`" if default else described

    @property
    def _branches(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.schema.get("anyOf", (self.schema,)))

    def _told(self, default: Any) -> str:
        """A default in that sentence: quoted for every enum, also one of numbers, and bare for a union."""
        if self.is_union and isinstance(default, str):
            return default
        return as_json(str(default) if "enum" in self.schema else default)


def fields(component: Schema) -> tuple[Field, ...]:
    """The fields of a component, in order."""
    required = component.get("required", ())
    return tuple(Field(name, name in required, schema) for name, schema in component["properties"].items())


def required_example(components: Mapping[str, Schema], name: str) -> dict[str, Any]:
    """The least object of component ``name`` that is valid, or shows what one looks like."""
    return dict(_members(components, name, only_required=True))


def full_example(components: Mapping[str, Schema], name: str) -> dict[str, Any]:
    """An object of component ``name`` with every field that has an example or a default other than 0, false, null."""
    return dict(_members(components, name, only_required=False))


def as_json(value: Any) -> str:
    """JSON on one line, without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _members(components: Mapping[str, Schema], name: str, *, only_required: bool) -> Iterator[tuple[str, Any]]:
    for field in fields(components[name]):
        if field.required or not only_required:
            value = _example(components, field)
            if value or (field.required and isinstance(value, str)):
                yield field.name, value


def _example(components: Mapping[str, Schema], field: Field) -> Any:
    schema = field.schema
    if examples := schema.get("examples"):
        return examples[0]
    if "default" in schema:
        return schema["default"]
    if "allOf" in schema:
        return full_example(components, referred(schema["allOf"][0]))
    if schema.get("type") == "array" and "$ref" in schema["items"]:
        return [full_example(components, referred(schema["items"]))]
    return "" if field.required and schema.get("type") == "string" else None


def _type(schema: Mapping[str, Any], title: str) -> str:
    if "$ref" in schema:
        return referred(schema)
    if "allOf" in schema:
        return referred(schema["allOf"][0])
    if "enum" in schema:
        # Only a field of its own has a title; the enum of a union has no name.
        return f"{title.replace(' ', '')}Enum" if "title" in schema else "Enum"
    if schema["type"] == "array":
        return f"list<{_type(schema['items'], '')}>"
    name: str = schema["type"]
    return _TYPES.get(name, name)
