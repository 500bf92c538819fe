"""The five schemas against the five documents: no difference, and a comparison that sees every difference."""

import pytest
from corpus import SOURCES, Source
from documented import UnreadLine, differences
from mutations import mutations
from served import flat_facts, schema

from stillmotion.endpoints.catalogue import CATALOGUE

every_document = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def report(source: Source, text: str, ours: object) -> list[str]:
    try:
        return differences(source.read(text), ours)
    except UnreadLine as error:
        return [f"unread: {error}"]


@every_document
def test_the_schema_equals_the_document(source):
    assert source.differences() == []


def test_the_documents_are_whole_and_the_catalogue_follows_them():
    assert [source.document.id for source in SOURCES] == list(CATALOGUE)
    assert [len(source.document.input) for source in SOURCES] == [6, 8, 24, 37, 16]
    assert [len(source.document.output) for source in SOURCES] == [1, 1, 3, 3, 3]


def test_all_sizes_have_the_names_that_one_document_prints():
    # The other documents print "One of: ImageSize | Enum" and leave the names out.
    (printed,) = [field.options for field in SOURCES[4].document.input if field.name == "resolution"]
    sizes = [
        (facts["name"], tuple(facts["branches"][1]["enum"]))
        for endpoint in CATALOGUE.values()
        for facts in flat_facts(schema(endpoint.input))
        if len(facts["branches"]) > 1
    ]
    assert sizes == [("video_size", printed), ("video_size", printed), ("resolution", printed)]


@every_document
def test_every_mutation_of_the_document_is_reported(source):
    ours, page = source.tell(source.endpoint), source.name == "ltx-2.3-quality"
    made = list(mutations(source.text, page=page))
    unseen = [
        mutation.reported
        for mutation in made
        if not any(line.startswith((mutation.reported, "unread")) for line in report(source, mutation.text, ours))
    ]
    assert unseen == []
    # A generator that made nothing would pass too: every attribute of every field must have been changed.
    changed = {mutation.reported for mutation in made}
    for section, fields in source.document.sections.items():
        for field in fields:
            for attribute in ("type", "required", "description", "told_default", "options"):
                assert f"{section}.{field.name}.{attribute}" in changed
    assert len(made) > 8 * sum(map(len, source.document.sections.values()))


@every_document
@pytest.mark.parametrize("stray", ["stray words", "  - Stray: `1`", "- **`stray`** (`string`)"])
def test_a_line_that_nobody_reads_is_reported(source, stray):
    ours, lines = source.tell(source.endpoint), source.text.split("\n")
    first, last = schema_lines(lines)
    for number in range(first, last):
        text = "\n".join([*lines[:number], stray, *lines[number:]])
        assert report(source, text, ours), f"a stray line before line {number + 1} was not noticed"


def schema_lines(lines: list[str]) -> tuple[int, int]:
    if "5. Schema#" in lines:
        return lines.index("Input#") + 2, lines.index("Related Models")
    return lines.index("### Input Schema") + 1, lines.index("## Usage Examples")
