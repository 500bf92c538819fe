"""Requests to an endpoint, generated from its document: valid ones, and ones with a single fault."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from corpus import SOURCES, Source
from documented import ABSENT, Documented
from hypothesis import strategies as st

# Ranges that the page does not print; docs/endpoints.md states them.
UNPRINTED = {
    "num_frames": (9, 481),
    "frames_per_second": (1, 60),
    "num_inference_steps": (2, 30),
    "guidance_scale": (1, 10),
    "image_strength": (0, 1),
    "seed": (0, 2**63 - 1),
}
SIZES = next(field.options for field in SOURCES[4].document.input if field.name == "resolution")
LORA_PATHS = [
    "",
    "Lightricks/LTX-2-19b-LoRA-Camera-Control-Dolly-In",
    "owner/repo/folder/file.safetensors",
    "owner/repo@v1.0",
    "owner/repo@0123456789abcdef0123456789abcdef01234567/file.safetensors",
    "local:mine.safetensors",
    "local:folder/mine.safetensors",
    "https://example.com/lora.safetensors?download=true",
    "http://127.0.0.1:8000/files/0123456789abcdef.safetensors",
]
BAD_LORA_PATHS = [
    "../../x",
    "/etc/passwd",
    "file:///etc/passwd",
    "a/b/../../c",
    "a/b/../c.safetensors",
    "a/b@",
    "a@main/b",
    "a/b@main/c",
    "a/b@main@main",
    "a/b@../c.safetensors",
    "a/b@refs/pr/1",
    "a/b..c",
    "a/b/c.ckpt",
    "local:",
    "local:mine.ckpt",
    "local:/etc/mine.safetensors",
    "local:../mine.safetensors",
    "local:a/../mine.safetensors",
    "local:C:\\mine.safetensors",
    "local://mine.safetensors",
    "LOCAL:mine.safetensors",
    "a",
    "a/b/",
    "a//b",
    "~/x",
    "C:\\x",
    "C:\\x\\y.safetensors",
    "a/b\n",
    " a/b",
    "a/b\0",
    "ftp://example.com/x.safetensors",
    "https://",
    "https:///x.safetensors",
    "https://user@example.com/x.safetensors",
    "https://exa mple.com/x",
    "https://example.com\\x",
    "data:application/octet-stream;base64,AAAA",
    "é/b",
    "-a/b",
    ".a/b",
]


@dataclass(frozen=True)
class Sent:
    """A valid body, and the same in the documents' own types and names."""

    body: dict[str, Any]
    meant: dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What a body is changed by, and the one detail that must be told about it."""

    change: dict[str, Any]
    loc: tuple[str | int, ...]
    type: str


MISSING = object()


@st.composite
def valid(draw: st.DrawFn, source: Source) -> Sent:
    body, meant = {}, {}
    for field in source.document.input:
        if field.required or draw(st.booleans()):
            name = field.name
            meant[name] = draw(_values(field))
            if field.type == "ImageSize | Enum" and draw(st.booleans()):
                name = "image_size"
            body[name] = draw(_spellings(field, meant[field.name]))
    order = draw(st.permutations(list(body)))
    return Sent({name: body[name] for name in order}, meant)


def _values(field: Documented) -> st.SearchStrategy[Any]:
    if field.options is not ABSENT and field.type != "ImageSize | Enum":
        return st.sampled_from(field.options)
    low, high = field.range if field.range is not ABSENT else UNPRINTED.get(field.name, (None, None))
    match field.type:
        case "integer":
            return st.integers(low, high)
        case "float":
            return st.floats(low, high) | st.integers(low, high)
        case "boolean":
            return st.booleans()
        case "string":
            return st.text(max_size=40) | st.just("x" * 5000)
        case "ImageSize | Enum":
            side = st.integers(64, 2048)
            return st.sampled_from(SIZES) | st.fixed_dictionaries({}, optional={"width": side, "height": side})
        case "list<LoRAInput>":
            lora = st.fixed_dictionaries(
                {"path": st.sampled_from(LORA_PATHS)}, optional={"scale": st.floats(-4, 4), "weight_name": st.text()}
            )
            return st.lists(lora, max_size=3)
    raise TypeError(field.type)


def _spellings(field: Documented, value: Any) -> st.SearchStrategy[Any]:
    """Ways in which clients write ``value``: numbers as strings too, a duration with its unit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return st.just(value)
    spelled = [value, str(value)] + ([f"{value}s"] if field.name == "duration" else [])
    return st.sampled_from(spelled)


def faults(source: Source) -> list[Fault]:
    """Single faults in every field of the document."""
    return [fault for field in source.document.input for fault in _faults(field)]


def _faults(field: Documented) -> Iterator[Fault]:
    name, loc = field.name, ("body", field.name)
    if field.required:
        yield Fault({name: MISSING}, loc, "missing")
    if field.type == "ImageSize | Enum":
        yield from _size_faults(name)
    elif field.type == "list<LoRAInput>":
        yield from _lora_faults(name)
    elif field.options is not ABSENT:
        # Beside what is not in the list: a blank, a type that no spelling has, nothing at all.
        for value in ("other", "", 7, [], None, True, "6 s", "1e400", "9" * 5000):
            yield Fault({name: value}, loc, "one_of")
    else:
        yield from _type_faults(field)
        yield from _range_faults(field)


def _type_faults(field: Documented) -> Iterator[Fault]:
    nullable = not field.required and field.name in ("seed", "end_image_url")
    wrong = {
        "integer": [("many", "int_parsing"), (9.5, "int_from_float"), ([], "int_type"), ("nan", "int_parsing")],
        "float": [("wide", "float_parsing"), ({}, "float_type"), ("nan", "finite_number"), ("1e400", "finite_number")],
        "boolean": [("maybe", "bool_parsing"), ({}, "bool_type"), (2, "bool_parsing")],
        "string": [(5, "string_type"), ([], "string_type"), (True, "string_type")],
    }[field.type]
    null = {"integer": "int_type", "float": "float_type", "boolean": "bool_type", "string": "string_type"}[field.type]
    for value, kind in wrong + ([] if nullable else [(None, null)]):
        yield Fault({field.name: value}, ("body", field.name), kind)
    if "prompt" in field.name and field.type == "string":
        yield Fault({field.name: "x" * 5001}, ("body", field.name), "sequence_too_long")


def _range_faults(field: Documented) -> Iterator[Fault]:
    low, high = field.range if field.range is not ABSENT else UNPRINTED.get(field.name, (None, None))
    if low is None:
        return
    step = 1 if field.type == "integer" else 1e-6
    for value in (low - step, str(low - 1), str(-(10**30))):
        yield Fault({field.name: value}, ("body", field.name), "greater_than_equal")
    for value in (high + step, str(high + 1), str(10**30)):
        yield Fault({field.name: value}, ("body", field.name), "less_than_equal")


def _size_faults(name: str) -> Iterator[Fault]:
    for field in (name, "image_size"):
        for value in ("huge", "", 7, None, [], True):
            yield Fault({name: MISSING, field: value}, ("body", field), "one_of")
        for side in ("width", "height"):
            for value, kind in (
                (63, "greater_than_equal"),
                (0, "greater_than_equal"),
                (-5, "greater_than_equal"),
                (4097, "less_than_equal"),
                ("9" * 30, "less_than_equal"),
                ("wide", "int_parsing"),
                (99.5, "int_from_float"),
                (None, "int_type"),
            ):
                yield Fault({name: MISSING, field: {side: value}}, ("body", field, side), kind)
        too_much = {name: MISSING, field: {"width": 4096, "height": 4096}, "num_frames": 481}
        yield Fault(too_much, ("body", field), "value_error")


def _lora_faults(name: str) -> Iterator[Fault]:
    usable = {"path": "owner/repo"}
    for value in ("owner/repo", None, 7, {}):
        yield Fault({name: value}, ("body", name), "list_type")
    yield Fault({name: [usable, {}]}, ("body", name, 1, "path"), "missing")
    yield Fault({name: [{"path": None}]}, ("body", name, 0, "path"), "string_type")
    yield Fault({name: [{**usable, "scale": "big"}]}, ("body", name, 0, "scale"), "float_parsing")
    yield Fault({name: [{**usable, "scale": 4.5}]}, ("body", name, 0, "scale"), "less_than_equal")
    yield Fault({name: [{**usable, "scale": -4.5}]}, ("body", name, 0, "scale"), "greater_than_equal")
    yield Fault({name: [usable] * 4}, ("body", name), "sequence_too_long")
    yield Fault({name: [{"path": "a/" + "b" * 5000}]}, ("body", name, 0, "path"), "sequence_too_long")
    for path in BAD_LORA_PATHS:
        yield Fault({name: [usable, {"path": path}]}, ("body", name, 1, "path"), "value_error")
