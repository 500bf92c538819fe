"""What an input would give, told before it is sent, against what it gave."""

import sqlite3
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages_wire import PHOTOGRAPH

from serving import ENDPOINT, small

LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"
QUALITY = "fal-ai/ltx-2.3-quality/image-to-video"
PRO, PRO_3 = "fal-ai/ltx-2/image-to-video", "fal-ai/ltx-2.3/image-to-video"
FIGURES = ("width", "height", "num_frames", "fps", "seconds", "megapixels", "total_cost", "content_type", "computed")


def estimate(client, input, endpoint=ENDPOINT, **more):
    body = {"estimate_type": "input", "endpoint_id": endpoint, "input": input, **more}
    answer = client.post("/v1/models/pricing/estimate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def figures(told):
    return [told[name] for name in FIGURES]


@pytest.mark.parametrize(
    "fields",
    [
        {"video_size": "auto", "num_frames": 9},
        {"video_size": {"width": 101, "height": 70}, "num_frames": 17, "fps": 24},
        {"video_size": "square", "num_frames": 10, "video_output_type": "GIF (.gif)"},
    ],
)
def test_the_figures_are_those_of_the_result(client, made, fields):
    input = {**small(), "image_url": PHOTOGRAPH, **fields}
    told = estimate(client, input, image_size={"width": 600, "height": 400})
    assert told["detail"] == []
    item = client.get(f"/v1/requests/{made(**fields)['request_id']}").json()
    assert (told["width"], told["height"], told["num_frames"]) == (item["width"], item["height"], item["num_frames"])
    assert told["fps"] == pytest.approx(item["fps"], rel=0.01)  # a GIF counts in hundredths of a second
    assert (told["total_cost"], told["content_type"], told["model"]) == (
        item["cost"],
        item["content_type"],
        item["model"],
    )
    assert told["megapixels"] == item["width"] * item["height"] * item["num_frames"] / 1e6
    assert told["seconds"] == pytest.approx(item["duration"], rel=0.01)


def test_what_depends_on_the_picture_is_not_guessed(client):
    input = {"prompt": "p", "num_frames": 121}
    unknown = estimate(client, input)
    assert (unknown["width"], unknown["height"], unknown["total_cost"], unknown["computed"]) == (None,) * 4
    assert (unknown["num_frames"], unknown["fps"], unknown["seconds"]) == (121, 25, 4.84)
    assert [detail["loc"] for detail in unknown["detail"]] == [["body", "image_url"]]
    known = estimate(client, input, image_size={"width": 4000, "height": 2250})
    assert (known["width"], known["height"], known["total_cost"]) == (1248, 704, 0.1926)
    named = estimate(client, {**input, "video_size": "landscape_16_9"})
    assert (named["width"], named["height"], named["unit"], named["quantity"]) == (1024, 576, "megapixels", 72)


@pytest.mark.parametrize("endpoint", [PRO, PRO_3])
def test_a_tier_has_a_price_without_a_picture(client, endpoint):
    told = estimate(client, {}, endpoint)
    assert (told["total_cost"], told["seconds"], told["unit"]) == (0.36, 6, "seconds")
    # Portrait and landscape have as many pixels.
    assert told["megapixels"] == 1920 * 1080 * told["num_frames"] / 1e6


def test_faults_are_those_that_the_request_would_get(client):
    input = {"prompt": "p", "image_url": "data:,", "num_frames": 1, "fps": 900}
    told = estimate(client, input)
    assert figures(told) == [None] * len(FIGURES)
    request = client.post(f"/queue/{ENDPOINT}", json=input).json()
    assert told["detail"] == client.get(request["response_url"]).json()["detail"]
    assert len(told["detail"]) == 2


def test_a_prompt_that_is_too_long_keeps_no_figure_back(client):
    told = estimate(client, {**small(), "prompt": "a" * 6000})
    assert [detail["loc"] for detail in told["detail"]] == [["body", "prompt"]]
    assert (told["width"], told["height"], told["num_frames"]) == (64, 64, 9)


def test_loras_that_were_not_chosen_yet_keep_no_figure_back(client):
    for loras in ({}, {"loras": [{"path": 5}]}):
        told = estimate(client, {"prompt": "p", "image_url": "data:,", "video_size": "square", **loras}, LORA)
        assert [detail["loc"][1] for detail in told["detail"]] == ["loras"]
        assert (told["width"], told["height"], told["total_cost"]) == (512, 512, 0.0573)


def test_an_alias_is_understood(client):
    told = estimate(client, {"prompt": "p", "image_size": "square"})
    assert (told["width"], told["height"]) == (512, 512)


def test_the_time_is_unknown_until_something_like_it_ran(client, made):
    fields = {"num_frames": 25, "num_inference_steps": 11, "acceleration": "high"}
    input = {**small(), **fields}
    before = estimate(client, input)
    assert (before["expected_seconds"], before["expected_from"]) == (None, 0)
    seconds = [client.get(f"/v1/requests/{made(**fields)['request_id']}").json()["gpu_seconds"] for _ in range(3)]
    after = estimate(client, input)
    assert after["expected_from"] == 3
    assert after["expected_seconds"] == pytest.approx(sorted(seconds)[1], abs=0.0011)
    # Of its neighbours, by how much they differ; of what is twice as much and more, nothing.
    near = estimate(client, {**input, "num_frames": 31})
    assert near["expected_seconds"] == pytest.approx(after["expected_seconds"] * 31 / 25, rel=0.27)
    far = estimate(client, {**input, "num_frames": 241})
    assert (far["expected_seconds"], far["expected_from"]) == (None, 0)
    for other in ({"acceleration": "none"}, {"num_inference_steps": 50}):
        assert estimate(client, {**input, **other})["expected_seconds"] is None, other
    assert estimate(client, {}, LORA)["expected_seconds"] is None


def test_asking_leaves_nothing_behind(pages_server, client):
    def count():
        with sqlite3.connect(f"file:{pages_server.data / 'stillmotion.db'}?mode=ro", uri=True) as connection:
            return [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("requests", "files")]

    before = count()
    for endpoint in (ENDPOINT, LORA, QUALITY, PRO, PRO_3):
        estimate(client, {"prompt": uuid4().hex}, endpoint)
    assert count() == before


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"input": {}}, 400, "endpoint_id"),
        ({"endpoint_id": ENDPOINT, "input": []}, 400, "input"),
        ({"endpoint_id": ENDPOINT, "image_size": {"width": 0, "height": 5}}, 400, "image_size"),
        ({"endpoint_id": ENDPOINT, "image_size": {"width": True, "height": 5}}, 400, "image_size"),
        ({"endpoint_id": ENDPOINT, "image_size": [1, 2]}, 400, "image_size"),
        ({"endpoint_id": "a/b/c"}, 404, "a/b"),
    ],
)
def test_what_cannot_be_asked(client, body, status, named):
    answer = client.post("/v1/models/pricing/estimate", json={"estimate_type": "input", **body})
    assert answer.status_code == status
    assert named in answer.json()["error"]["message"]


VALUES = st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
NAMES = st.sampled_from(
    ["prompt", "image_url", "end_image_url", "num_frames", "fps", "video_size", "resolution", "loras"]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(NAMES, VALUES | st.dictionaries(st.sampled_from(["width", "height"]), VALUES, max_size=2)),
    st.sampled_from([ENDPOINT, LORA, QUALITY, PRO, PRO_3]),
)
def test_any_form_gets_an_answer(client, input, endpoint):
    told = estimate(client, input, endpoint)
    if told["total_cost"] is not None:
        assert told["total_cost"] > 0
        assert told["seconds"] > 0
