"""All five endpoints under generated requests: what is promised is what the documents say, faults are told in place."""

import json

import orjson
import pytest
from corpus import SOURCES
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import promise
from requests_to import MISSING, faults, valid

from stillmotion.endpoints.bounds import Bounds
from stillmotion.errors import ValidationError
from stillmotion.job import Encoding, Job, Model, from_json, to_json

every_endpoint = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
IMAGES = st.tuples(st.integers(16, 8000), st.integers(16, 8000)) | st.sampled_from([(1920, 1080), (1, 400), (400, 1)])
MODELS = st.sampled_from(
    [
        Model(name="whole", family="ltx-2"),
        Model(name="small", family="ltx-2.3", max_pixels=256 * 256, max_frames=25),
        Model(name="equipped", family="ltx-2.3", upsamplers=("spatial_x2", "temporal_x2"), loras=("distilled",)),
    ]
)


@every_endpoint
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_a_valid_request_is_promised_what_the_document_says(source, data):
    sent, image = data.draw(valid(source)), data.draw(IMAGES)
    model = data.draw(MODELS)
    request = source.endpoint.parse(sent.body, Bounds())
    job, encoding, _ = source.endpoint.plan(request, {"image_url": image}, 7, model)

    expected = promise(source, sent.meant, image)
    assert (job.width, job.height) == expected.size
    assert (job.num_frames, job.fps, job.audio) == (expected.num_frames, expected.fps, expected.audio)
    assert encoding.container == expected.container
    assert (encoding.quality, encoding.write_mode) == (expected.quality, expected.write_mode)
    assert encoding.settings is None
    assert (job.acceleration, job.expand_prompt) == (expected.acceleration, expected.expand_prompt)
    assert job.check_safety == expected.check_safety
    assert (job.model, job.seed, job.prompt) == (model.name, 7, expected.prompt)
    assert expected.negative_prompt in (None, job.negative_prompt)
    assert source.endpoint.unknown(sent.body) == ()


@every_endpoint
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_plan_crosses_the_process_border(source, data):
    sent, image, model = data.draw(valid(source)), data.draw(IMAGES), data.draw(MODELS)
    request = source.endpoint.parse(sent.body, Bounds())
    job, encoding, _ = source.endpoint.plan(request, {"image_url": image}, 7, model)
    for kind, value in ((Job, job), (Encoding, encoding)):
        assert from_json(kind, json.loads(json.dumps(to_json(value)))) == value


@every_endpoint
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_every_fault_is_told_where_it_is(source, data):
    body = data.draw(valid(source)).body
    for fault in faults(source):
        faulty = {**body, **fault.change}
        if "image_size" in faulty and "image_size" not in fault.change and fault.loc[1] in ("video_size", "resolution"):
            del faulty["image_size"]
        faulty = {name: value for name, value in faulty.items() if value is not MISSING}
        with pytest.raises(ValidationError) as caught:
            source.endpoint.parse(faulty, Bounds())
        details = caught.value.details
        assert [(detail.loc, detail.type) for detail in details] == [(fault.loc, fault.type)], fault
        # The details are stored and sent as JSON.
        for detail in details:
            assert orjson.dumps([detail.loc, detail.msg, detail.ctx and dict(detail.ctx), detail.input])


def test_the_documents_sample_size():
    for source in SOURCES[2:]:
        request = source.endpoint.parse(source.document.full_example, Bounds())
        job = source.endpoint.plan(request, {"image_url": (1920, 1080)}, 7, Model(name="m", family="ltx-2")).job
        assert (job.width, job.height) == (1248, 704)


@every_endpoint
def test_the_examples_of_the_document_are_the_defaults(source):
    """Both examples and a request with the required fields alone come to the same job."""
    document, model = source.document, Model(name="m", family="ltx-2")
    required = {field.name: document.full_example[field.name] for field in document.input if field.required}
    bodies = [document.full_example, required]
    if isinstance(document.required_example, dict):
        bodies.append(document.required_example)
    plans = [
        source.endpoint.plan(source.endpoint.parse(body, Bounds()), {"image_url": (1920, 1080)}, 7, model)
        for body in bodies
    ]
    assert all(plan == plans[0] for plan in plans)
