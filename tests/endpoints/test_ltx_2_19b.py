"""The endpoint's schema against its document, and its plan."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.endpoints import ltx_2_19b
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.ltx_2_19b import ENDPOINT
from stillmotion.errors import ValidationError
from stillmotion.job import Job, Model, from_json, to_json

DOCUMENT = (Path(__file__).parent / "documents" / "ltx-2-19b.txt").read_text()
REQUIRED = {"prompt": "a cat", "image_url": "data:,"}
MODEL = Model(name="m", family="ltx-2")


def parse(**fields):
    return ENDPOINT.parse({**REQUIRED, **fields}, Bounds())


def plan(model=MODEL, image=(1920, 1080), **fields):
    return ENDPOINT.plan(parse(**fields), {"image_url": image}, 7, model)


def documented_fields():
    section = DOCUMENT.partition("### Input Schema")[2].partition("**Required Parameters Example**")[0]
    for name, kind, need, text in re.findall(r"- \*\*`(\w+)`\*\* \(`(.*?)`, _(\w+)_\):\n((?:  .*\n)+)", section):
        lines = [line.strip() for line in text.splitlines()]
        facts = dict(line[2:].split(": ", 1) for line in lines if re.match(r"- \w[\w ]*: ", line))
        yield name, kind, need, re.sub(r" Default value: `.*`$", "", lines[0]), facts


def test_fields_are_those_of_the_document_in_its_order():
    assert [name for name, *_ in documented_fields()] == list(ltx_2_19b.Input.model_fields)
    assert len(ltx_2_19b.Input.model_fields) == 24


@pytest.mark.parametrize(("name", "kind", "need", "description", "facts"), list(documented_fields()))
def test_field_equals_the_document(name, kind, need, description, facts):
    schema = ltx_2_19b.Input.model_json_schema()
    field = schema["properties"][name]
    assert field["description"] == description
    assert (name in schema["required"]) == (need == "required")
    if "Default" in facts:
        assert field["default"] == json.loads(facts["Default"].strip("`"))
    if "Options" in facts:
        assert field["enum"] == re.findall(r'`"(.*?)"`', facts["Options"])
    if "Range" in facts:
        low, high = re.findall(r"`(\d+)`", facts["Range"])
        assert (field["minimum"], field["maximum"]) == (int(low), int(high))
    if "Examples" in facts:
        assert field["examples"] == [json.loads(facts["Examples"])]
    if kind in {"string", "integer", "boolean", "float"}:
        types = {option.get("type") for option in field.get("anyOf", [field])} - {"null"}
        assert types == {"number" if kind == "float" else kind}


def test_what_is_not_yet_honoured_is_known():
    # This list only ever shrinks; the endpoint is finished when it is empty.
    assert set(ltx_2_19b.NOT_YET_HONOURED) == {
        "end_image_url",
        "use_multiscale",
        "acceleration",
        "camera_lora",
        "enable_prompt_expansion",
        "enable_safety_checker",
        "video_output_type",
        "sync_mode",
    }


def test_fields_not_yet_honoured_are_named_in_one_line():
    notes = plan(camera_lora="dolly_in", sync_mode=True, acceleration="none").notes
    (line,) = [note for note in notes if "not yet honoured" in note]
    assert line.endswith("use_multiscale, camera_lora, enable_prompt_expansion, enable_safety_checker, sync_mode")


def test_defaults_give_the_documented_job():
    job, encoding, _ = plan()
    assert (job.width, job.height, job.num_frames, job.fps, job.audio, job.seed) == (1248, 704, 121, 25.0, True, 7)
    (stage,) = job.stages
    assert (stage.steps, stage.video.cfg, stage.audio.cfg, stage.schedule) == (40, 3.0, 3.0, "ltx2")
    assert (encoding.container, encoding.quality, encoding.write_mode) == ("mp4", "high", "balanced")
    assert job.negative_prompt == parse().negative_prompt


def test_a_custom_size_is_delivered_exactly_and_an_odd_one_at_or_above():
    assert plan(video_size={"width": 256, "height": 170}).job.height == 170
    odd = plan(video_size={"width": 333, "height": 171})
    assert (odd.job.width, odd.job.height) == (334, 172)
    assert any("odd side" in note for note in odd.notes)


def test_a_model_that_computes_less_says_so():
    small = Model(name="small", family="ltx-2", max_pixels=65536, max_frames=25)
    job, _, notes = plan(model=small)
    assert (job.width, job.height, job.num_frames) == (1248, 704, 121)
    assert (job.stages[0].width, job.stages[0].height, job.stages[0].num_frames) == (288, 160, 25)
    assert any("computes 288x160 and 25 frames" in note for note in notes)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "num_frames": st.integers(9, 481),
            "fps": st.floats(1, 60),
            "num_inference_steps": st.integers(8, 50),
            "guidance_scale": st.floats(1, 10),
            "image_strength": st.floats(0, 1),
            "video_size": st.sampled_from(["auto", "square", "portrait_16_9"]),
            "generate_audio": st.booleans(),
        },
    )
)
def test_every_plan_crosses_the_process_border(fields):
    job = plan(**fields).job
    assert from_json(Job, json.loads(json.dumps(to_json(job)))) == job


@pytest.mark.parametrize(
    ("fields", "loc", "kind"),
    [
        ({"prompt": None}, ("body", "prompt"), "string_type"),
        ({"num_frames": 8}, ("body", "num_frames"), "greater_than_equal"),
        ({"num_frames": 482}, ("body", "num_frames"), "less_than_equal"),
        ({"num_frames": "many"}, ("body", "num_frames"), "int_parsing"),
        ({"fps": 0.5}, ("body", "fps"), "greater_than_equal"),
        ({"guidance_scale": 11}, ("body", "guidance_scale"), "less_than_equal"),
        ({"acceleration": "warp"}, ("body", "acceleration"), "one_of"),
        ({"video_size": "huge"}, ("body", "video_size"), "one_of"),
        ({"video_size": 7}, ("body", "video_size"), "one_of"),
        ({"video_size": {"width": 0, "height": 64}}, ("body", "video_size", "width"), "greater_than"),
        ({"video_size": {"width": 63, "height": 64}}, ("body", "video_size", "width"), "greater_than_equal"),
        ({"video_size": {"width": 64, "height": 4097}}, ("body", "video_size", "height"), "less_than_equal"),
        ({"prompt": "x" * 5001}, ("body", "prompt"), "sequence_too_long"),
        ({"negative_prompt": "x" * 5001}, ("body", "negative_prompt"), "sequence_too_long"),
    ],
)
def test_faulty_fields_are_named(fields, loc, kind):
    with pytest.raises(ValidationError) as caught:
        parse(**fields)
    assert [(detail.loc, detail.type) for detail in caught.value.details] == [(loc, kind)]


def test_numbers_may_come_as_strings():
    assert parse(num_frames="25", fps="24").num_frames == 25


def test_unknown_fields_are_known_as_such():
    assert ENDPOINT.unknown({**REQUIRED, "strength": 1}) == ("strength",)
