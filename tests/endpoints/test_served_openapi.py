"""The five documents against the served OpenAPI: the comparison as a stranger can make it, over HTTP alone."""

import copy
from dataclasses import replace

import pytest
from corpus import SOURCES
from documented import ABSENT, Document, Documented, differences, read_json

TYPES = {"string": "string", "integer": "integer", "boolean": "boolean", "number": "float"}

every_document = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


@pytest.fixture
def served(mock_server, source):
    with mock_server.client() as client:
        answer = client.get("/api/openapi/queue/openapi.json", params={"endpoint_id": source.document.id})
    assert answer.status_code == 200
    return answer.json()


@every_document
def test_the_served_schema_equals_the_document(source, served):
    assert differences(printed(source), told(source, served)) == []


@every_document
def test_every_change_of_the_served_schema_is_reported(source, served):
    for name, schema in components(source, served).items():
        for field, facts in schema["properties"].items():
            for change in changes(facts):
                changed = copy.deepcopy(served)
                change(components(source, changed)[name]["properties"][field])
                found = differences(printed(source), told(source, changed))
                assert any(f".{field}." in line for line in found), (name, field)


def changes(facts):
    """One function for each attribute that the document prints, which changes it in place."""

    def changing(key, value):
        return lambda changed: changed.__setitem__(key, value)

    yield changing("description", facts["description"] + "!")
    if "minimum" in facts:
        yield changing("minimum", facts["minimum"] - 1)
        yield changing("maximum", facts["maximum"] + 1)
    if facts.get("default"):
        yield changing("default", "another")
    if "enum" in facts:
        yield changing("enum", [*facts["enum"][1:], facts["enum"][0]])
        yield changing("title", "Another")
    elif "type" in facts and facts["type"] != "array":
        yield changing("type", "integer" if facts["type"] != "integer" else "number")


def components(source, openapi):
    """Input, output and, where the document describes them, the other types."""
    schemas = openapi["components"]["schemas"]
    paths = openapi["paths"]
    submit = paths[f"/{source.document.id}"]["post"]["requestBody"]
    result = paths[f"/{source.document.id}/requests/{{request_id}}"]["get"]["responses"]["200"]
    named = {
        section: schemas[reference(body["content"]["application/json"]["schema"])]
        for section, body in (("input", submit), ("output", result))
    }
    return named | {name: schemas[name] for name in source.document.types}


def told(source, openapi) -> Document:
    """The served schema in the document's terms."""
    sections = {name: list(map_fields(source, schema)) for name, schema in components(source, openapi).items()}
    metadata = openapi["info"]["x-fal-metadata"]
    return Document(
        id=metadata["endpointId"],
        summary=ABSENT,
        category=ABSENT if is_page(source) else metadata["category"],
        input=sections.pop("input"),
        output=sections.pop("output"),
        types=sections,
    )


def printed(source) -> Document:
    """The document without what no OpenAPI says: the words above the schema, and whole examples."""
    document = source.document
    return Document(
        id=document.id,
        summary=ABSENT,
        category=document.category,
        input=[as_value(source, each) for each in document.input],
        output=[as_value(source, each) for each in document.output],
        types={name: [as_value(source, each) for each in fields] for name, fields in document.types.items()},
    )


def as_value(source, field: Documented) -> Documented:
    """``field`` without the sentence about its default; the page tells the default by nothing but that sentence."""
    if not is_page(source):
        return replace(field, told_default=ABSENT)
    default = field.told_default
    if default not in (ABSENT, "auto"):
        default = read_json(default)
    return replace(field, told_default=ABSENT, default=default)


def map_fields(source, schema):
    assert schema["x-fal-order-properties"] == list(schema["properties"])
    for name, facts in schema["properties"].items():
        branches = facts.get("anyOf", [facts])
        listed = tuple(value for branch in branches for value in branch.get("enum", ()))
        page, union = is_page(source), len(branches) > 1
        default = facts.get("default", ABSENT)
        yield Documented(
            name=name,
            type=type_name(facts),
            required=name in schema.get("required", ()),
            description=facts["description"],
            # A page is silent about a default of 0 or false, about ranges and about examples.
            default=default if default or not page else ABSENT,
            range=(facts["minimum"], facts["maximum"]) if "minimum" in facts else ABSENT,
            options=listed if listed and (page or not union) else ABSENT,
            examples=ABSENT if page else facts.get("examples", ABSENT),
            one_of=type_name(facts) if union and not page else ABSENT,
            array_of=reference(facts["items"]) if "items" in facts else ABSENT,
        )


def type_name(facts):
    if "anyOf" in facts:
        return " | ".join("Enum" if "enum" in branch else reference(branch) for branch in facts["anyOf"])
    if "allOf" in facts:
        return reference(facts["allOf"][0])
    if "enum" in facts:
        return facts["title"].replace(" ", "") + "Enum"
    return f"list<{reference(facts['items'])}>" if facts["type"] == "array" else TYPES[facts["type"]]


def reference(schema):
    start, _, name = schema["$ref"].rpartition("/")
    assert start == "#/components/schemas"
    return name


def is_page(source):
    return bool(source.document.types)
