"""The fifth section of an endpoint's page: every field of its input, its output and the types that they name."""

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

from stillmotion.endpoints.documents import snippets
from stillmotion.endpoints.documents.components import Schema
from stillmotion.endpoints.documents.fields import Field, fields, full_example
from stillmotion.endpoints.documents.guide import code, heading
from stillmotion.endpoints.documents.html import Node, prose, tag

# fal's page shows this under every field that takes a size, with this key, whatever the field is called.
_CUSTOM_SIZE = """\
"image_size": {
  "width": 1280,
  "height": 720
}"""


def reference(components: Mapping[str, Schema], input: str, output: str) -> list[Node]:
    """The schema section; ``input`` and ``output`` name the two components that are not among the other types."""
    others = [name for name in components if name not in (input, output)]
    return [
        heading(2, "5. Schema", "schema"),
        heading(3, "Input", "input"),
        *_fields(components, input, "input"),
        code(snippets.as_indented_json(full_example(components, input))),
        heading(3, "Output", "output"),
        *_fields(components, output, "output"),
        code(snippets.as_indented_json(full_example(components, output))),
        *([heading(3, "Other types", "types")] if others else []),
        *(node for name in others for node in (heading(4, name, name), *_fields(components, name, name))),
    ]


def _fields(components: Mapping[str, Schema], name: str, prefix: str) -> Iterator[Element]:
    for field in fields(components[name]):
        yield tag("section", *_field(components, field), class_="field", id=f"{prefix}-{field.name}")


def _field(components: Mapping[str, Schema], field: Field) -> Iterator[Element]:
    need = [tag("span", "* required", class_="required")] if field.required else []
    # fal's page has a space here that does not break.
    yield tag(
        "p",
        tag("code", field.name),
        "\N{NO-BREAK SPACE}",
        tag("span", *_types(components, field), class_="type"),
        *need,
    )
    yield tag("p", *prose(field.description))
    low, high = field.bounds
    if low is not None and high is not None:
        yield tag("p", "Range: ", tag("code", str(low)), " to ", tag("code", str(high)), class_="values")
    if field.values:
        listed = [node for value in field.values for node in (", ", tag("code", str(value)))]
        yield tag("p", "Possible enum values: ", *listed[1:], class_="values")
    if "ImageSize" in field.types:
        yield tag("p", *prose("Note: For custom image sizes, you can pass the `width` and `height` as an object:"))
        yield code(_CUSTOM_SIZE)


def _types(components: Mapping[str, Schema], field: Field) -> Iterator[Node]:
    for index, name in enumerate(field.types):
        if index:
            yield " | "
        plain = name.removeprefix("list<").removesuffix(">")
        yield tag("a", name, href=f"#{plain}") if plain in components else name
