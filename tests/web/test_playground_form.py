"""The form and the JSON are two views of one input, and the form has every field of the document."""

import json
from typing import Any

import pytest
from browser import ENDPOINTS, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_page import set_json

MANY = {
    "prompt": "  spaces, ünïcode 🐈 and\nlines  ",
    "num_frames": 33,
    "video_size": {"width": 320, "height": 240},
    "generate_audio": False,
    "fps": 23.976,
    "seed": 2**62 + 1,
    "negative_prompt": "",
    "camera_lora": "dolly_in",
    "image_strength": 0.35,
    "a_field_of_tomorrow": {"list": [1, 2.5, None, True], "empty": {}},
}


def schema(client: Any, endpoint: str) -> dict[str, Any]:
    document = client.get("/api/openapi/queue/openapi.json", params={"endpoint_id": endpoint}).json()
    (name,) = (each for each in document["components"]["schemas"] if each.endswith("Input") and each != "LoRAInput")
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def test_form_to_json_to_form_loses_nothing(visit):
    watched = visit()
    page = watched.open_endpoint()
    set_json(watched, **MANY)
    first = watched.json()
    assert {name: json.loads(first)[name] for name in MANY} == MANY
    page.locator(".advanced summary").click()
    assert page.locator("#field-prompt").input_value() == MANY["prompt"]
    assert page.locator("#field-seed").input_value() == str(2**62 + 1)
    assert page.locator("#field-fps").input_value() == "23.976"
    assert page.locator("#field-negative_prompt").input_value() == ""
    assert "a_field_of_tomorrow" in page.locator(".others").inner_text()
    # A change in the form changes that field alone.
    page.locator("#field-num_frames").fill("41")
    assert json.loads(watched.json()) == json.loads(first) | {"num_frames": 41}


def test_what_a_control_cannot_show_is_kept_and_shown_as_json(visit):
    watched = visit()
    page = watched.open_endpoint()
    wrong = {"prompt": 5, "num_frames": [1], "video_size": "huge", "generate_audio": "yes", "image_url": None}
    set_json(watched, **wrong)
    assert page.locator("#field-prompt").input_value() == "5"
    assert page.locator("#field-num_frames").input_value() == "[\n  1\n]"
    shown = json.loads(watched.json())
    assert {name: shown[name] for name in wrong} == wrong


def test_json_that_is_not_finished_changes_nothing_and_says_why(visit):
    watched = visit()
    page = watched.open_endpoint()
    before = watched.json()
    page.get_by_role("tab", name="JSON").click()
    page.locator("#json-text").fill('{"prompt": "half')
    assert page.locator("#json-note").get_attribute("role") == "alert"
    assert page.locator(".run-button").is_disabled()
    page.get_by_role("tab", name="Form", exact=True).click()
    assert page.locator("#field-prompt").input_value() == json.loads(before)["prompt"]
    page.get_by_role("tab", name="JSON").click()
    assert page.locator("#json-text").input_value() == '{"prompt": "half'


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_field_has_a_control_with_its_default(visit, web_server, endpoint):
    page = visit().open_endpoint(endpoint)
    for fold in page.locator(".advanced summary").all():
        fold.click()
    with web_server.client() as client:
        component = schema(client, endpoint)
    shown = page.locator("[data-field]").evaluate_all("all => all.map((each) => each.dataset.field)")
    assert sorted(shown) == sorted(component["properties"])
    for name, field in component["properties"].items():
        row = page.locator(f"[data-field={name}]")
        assert (row.locator(".required").count() == 1) == (name in component["required"]), name
        match field.get("default"):
            case bool(value):
                assert row.locator("input").is_checked() == value, name
            case int(value) | float(value) if "enum" not in field:
                assert float(row.locator("input[type=text]").input_value()) == value, name
            case str(value) if "prompt" in name:
                assert row.locator("textarea").input_value() == value, name
            case None:
                pass
            case value:
                chosen = row.locator("select option:checked, input:checked + span").first.inner_text()
                assert str(value).replace("_", " ").lower() in chosen.lower().replace(":", " "), name


def test_a_field_is_reset_to_its_default(visit):
    watched = visit()
    page = watched.open_endpoint()
    page.locator("#field-fps").fill("30")
    page.get_by_role("button", name="Reset FPS to 25").click()
    assert page.locator("#field-fps").input_value() == "25"
    assert "fps" not in json.loads(watched.json())


def test_the_slider_and_the_box_are_one_value(visit):
    watched = visit()
    page = watched.open_endpoint()
    page.get_by_label("Num Frames, slider").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#field-num_frames").input_value() == "122"
    assert json.loads(watched.json())["num_frames"] == 122


def test_the_live_line_tells_what_the_server_will_deliver(visit):
    watched = visit()
    page = watched.open_endpoint()
    set_json(watched, video_size={"width": 1280, "height": 720}, num_frames=121)
    wait_until(page, "document.querySelector('.live')?.innerText.includes('1280 × 720')")
    line = page.locator(".live").inner_text()
    # The document's own example: 121 frames at 1280x720 cost $0.2016.
    assert "$0.2016 on fal" in line
    assert "121 frames" in line
    assert "4.84 s at 25 fps" in line
    assert "111.5 MP" in line


def test_auto_follows_the_picture(visit):
    page = visit().open_endpoint()
    wait_until(page, "document.querySelector('.live')?.innerText.includes('1152 × 768')")


def test_the_input_survives_a_reload(visit):
    watched = visit()
    page = watched.open_endpoint()
    page.locator("#field-prompt").fill("kept")
    page.reload()
    page.wait_for_selector("#field-prompt")
    assert page.locator("#field-prompt").input_value() == "kept"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_é", max_size=4), inner, max_size=3),
    max_leaves=8,
)


def same(got: Any, sent: Any) -> bool:
    """Whole numbers exactly; one with a point may come back without: 3.5e16 as 35000000000000000 is the same double."""
    if isinstance(sent, dict):
        return isinstance(got, dict) and got.keys() == sent.keys() and all(same(got[name], sent[name]) for name in sent)
    if isinstance(sent, list):
        return isinstance(got, list) and len(got) == len(sent) and all(map(same, got, sent))
    if isinstance(sent, float):
        return type(got) in (int, float) and float(got) == sent
    return type(got) is type(sent) and got == sent


def test_any_json_survives_the_form(visit):
    watched = visit()
    page = watched.open_endpoint()
    page.get_by_role("tab", name="JSON").click()

    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from(["prompt", "num_frames", "video_size", "image_url", "other"]), values))
    def survives(value: dict[str, Any]) -> None:
        page.locator("#json-text").fill(json.dumps(value))
        page.get_by_role("tab", name="Form", exact=True).click()
        page.get_by_role("tab", name="JSON").click()
        assert same(json.loads(page.locator("#json-text").input_value()), value)

    watched.expected = ("Failed to load resource", "image")
    survives()
