"""The page of an endpoint reads like the user's page of it, and says where this server differs."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from visible_text import Page

from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.documents.html import document, prose, tag

QUALITY = "fal-ai/ltx-2.3-quality/image-to-video"

NAVIGATION = ["Stillmotion", "Calling", "Queue", "Files", "Schema"]
NOTES = [
    'On this server: eval "$(stillmotion client-env)" sets the key and the hosts for the Python client; what it prints '
    "also shows the line that points the JavaScript client here. While the server listens on loopback only, any key is "
    "accepted.",
]
"""What is promised by the document's words and not kept here, told beside those words."""
MISSING = ["Commercial use"]
"""The licence is that of the weights that are installed, which the endpoint does not know."""
ADDED = ["llms.txt"]


def page(client, id):
    answer = client.get(f"/models/{id}/api")
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def test_its_text_is_that_of_the_document(client, written):
    shown = page(client, QUALITY)
    assert "".join(shown.inside("nav")) == "".join(NAVIGATION)
    assert shown.inside("aside") == NOTES
    expected = [line.rstrip() for line in written(QUALITY).split("\n") if line.strip()]
    found = shown.text("nav", "aside")
    # The document ends with the heading of the related models; which ones those are, only this server knows.
    end = found.index("Related Models") + 1
    changes = [line for line in difflib.ndiff(expected, found[:end]) if line[0] in "+-"]
    assert changes == [*(f"- {line}" for line in MISSING), *(f"+ {line}" for line in ADDED)]
    others = [endpoint for endpoint in CATALOGUE.values() if endpoint.id != QUALITY]
    assert found[end:] == [line for each in others for line in (f"{each.title} {each.id}", each.summary)]


@pytest.mark.parametrize("id", CATALOGUE)
def test_every_endpoint_has_the_same_sections(client, id):
    shown = page(client, id)
    assert shown.inside("h1") == [id]
    assert shown.inside("h2") == [
        "About",
        "1. Calling the API#",
        "2. Authentication#",
        "3. Queue#",
        "4. Files#",
        "5. Schema#",
        "Related Models",
    ]
    assert shown.inside("aside") == NOTES


@pytest.mark.parametrize("id", CATALOGUE)
def test_every_field_is_described_once(client, id):
    shown = page(client, id)
    endpoint = CATALOGUE[id]
    for prefix, model in (("input", endpoint.input), ("output", endpoint.output)):
        assert [each for each in shown.ids if each.startswith(f"{prefix}-")] == [
            f"{prefix}-{name}" for name in model.model_fields
        ]
    assert len(shown.ids) == len(set(shown.ids))


def test_a_range_is_told(client):
    assert "Range: 9 to 481" in page(client, "fal-ai/ltx-2-19b/image-to-video").text()


def test_links_within_the_page_lead_somewhere(client):
    for id in CATALOGUE:
        shown = page(client, id)
        inner = [link[1:] for link in shown.links if link.startswith("#")]
        assert len(inner) > 20
        assert set(inner) <= set(shown.ids)


def test_it_works_without_script_and_may_run_none(client):
    for path in ("/models", f"/models/{QUALITY}/api"):
        answer = client.get(path)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "style-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        shown = Page(answer.text)
        assert not shown.tags & {"script", "style", "iframe", "form", "img", "base", "object"}
        assert not any(name == "style" or name.startswith("on") for name in shown.attributes)


def test_the_list_names_every_endpoint(client):
    shown = Page(client.get("/models").text)
    assert [text for text in shown.inside("p") if "fal-ai/" in text] == [
        f"{endpoint.title} {endpoint.id}" for endpoint in CATALOGUE.values()
    ]


@pytest.mark.parametrize("path", ["fal-ai/none", "fal-ai/ltx-2", "//evil.example", "style.css/x", "%22%3E%3Cscript%3E"])
def test_only_the_catalogue_has_pages(client, path):
    for suffix in ("", "/api"):
        answer = client.get(f"/models/{path}{suffix}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"


def test_a_host_that_is_not_ours_writes_no_page(client):
    answer = client.get("/models", headers={"host": 'evil.example"><script>'})
    assert answer.status_code == 421


@given(st.text())
def test_whatever_goes_in_as_text_comes_out_as_text(text):
    readable = "".join(each for each in text if each.isprintable())
    source = document(readable, tag("p", readable, tag("a", readable, href=readable)))
    shown = Page(source)
    assert shown.tags == {"html", "head", "meta", "title", "link", "body", "p", "a"}
    assert "".join(shown.text()) == " ".join((readable * 2).split())
    assert shown.links[1:] == ([readable] if readable else [])


def test_code_in_prose_is_marked():
    (first, code, last) = prose("If `True`, it is")
    assert (first, code.tag, code.text, last) == ("If ", "code", "True", ", it is")
