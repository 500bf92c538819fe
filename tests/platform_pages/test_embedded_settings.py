"""A video that was downloaded gives its request back, whole or by its head and tail."""

import json
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages_wire import PHOTOGRAPH
from PIL import Image

from serving import ENDPOINT, data_uri, picture, small, wait
from stillmotion.job import Encoding
from stillmotion.media.containers import open_writer
from stillmotion.media.gif_comment import append_comment, last_comment

OUTPUTS = {"gif": "GIF (.gif)", "mov": "PRORES4444 (.mov)", "mp4": "X264 (.mp4)", "webm": "VP9 (.webm)"}
HALF = 1 << 19


def read(client, content, **query):
    return client.post("/v1/embedded-settings", content=content, params=query)


@pytest.mark.parametrize("container", OUTPUTS)
def test_a_result_gives_its_request_back(client, container):
    sent = {**small(prompt="Grüße"), "video_output_type": OUTPUTS[container], "image_url": PHOTOGRAPH}
    request = client.post(f"/queue/{ENDPOINT}", json=sent).json()
    wait(client, request)
    result = client.get(request["response_url"]).json()
    found = read(client, client.get(result["video"]["url"]).content)
    assert found.json() == {
        "endpoint_id": ENDPOINT,
        "model": "mock",
        "input": {**sent, "seed": result["seed"]},
        "served": True,
    }


@pytest.mark.parametrize("container", OUTPUTS)
def test_head_and_tail_of_a_large_file_are_enough(client, tmp_path, container):
    told = {"endpoint": "a/b/of-another-server", "model": "m", "input": {"prompt": "x" * 4000, "seed": 3}}
    path = tmp_path / f"large.{container}"
    noise = np.random.default_rng(0)
    encoding = Encoding(container=container, quality="maximum", write_mode="fast", settings=json.dumps(told))
    with open_writer(path, 512, 384, Fraction(24), encoding, sample_rate=None) as writer:
        for _ in range(24):
            writer.write(noise.integers(16, 236, (1, 576, 512), dtype=np.uint8))
    content = path.read_bytes()
    assert len(content) > 2 << 20
    found = read(client, content[:HALF] + content[-HALF:], size=len(content), head=HALF)
    assert found.json() == {"endpoint_id": told["endpoint"], "model": "m", "input": told["input"], "served": False}
    if container in ("mov", "gif"):  # theirs are at the end
        assert read(client, content[: HALF * 2]).status_code in (400, 404)
    assert read(client, content).status_code == 413


def test_a_picture_is_left_out_as_it_was_when_it_was_written(client):
    request = client.post(f"/queue/{ENDPOINT}", json={**small(), "image_url": data_uri(picture())}).json()
    wait(client, request)
    video = client.get(client.get(request["response_url"]).json()["video"]["url"]).content
    assert "image_url" not in read(client, video).json()["input"]


def gif(comment=None):
    stream = BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "GIF", **({"comment": comment} if comment else {}))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"no video at all", 400),
        (picture(), 400),
        (b"\x00\x00\x00\x20ftypisom" + b"\0" * 300, 400),
        (b"\x1a\x45\xdf\xa3" + b"\xff" * 300, 400),
        (gif(), 404),
        (gif(b"just a comment"), 404),
        (gif(b'{"endpoint": 5, "input": {}}'), 404),
        (gif(b'{"endpoint": "a/b"}'), 404),
    ],
)
def test_what_does_not_say_how_it_was_made(client, content, status):
    answer = read(client, content)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == ("validation_error" if status == 400 else "not_found")


@pytest.mark.parametrize(
    "query", [{"size": 3}, {"size": "x"}, {"head": 10**9}, {"size": -1}, {"size": 2**41}, {"head": 99}]
)
def test_pieces_that_do_not_fit(client, query):
    answer = read(client, gif(b"{}")[:50], **query)
    assert answer.status_code == 400
    assert any(name in answer.json()["error"]["message"] for name in query)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"GIF89a", b"\0\0\0\x18ftypisom", b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska"]),
    st.binary(max_size=400),
)
def test_a_hostile_file_gets_a_plain_answer(client, head, rest):
    assert read(client, head + rest).status_code in (400, 404)


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=900), st.binary(max_size=50))
def test_the_last_comment_is_the_one_that_was_appended(tmp_path_factory, text, before):
    path = tmp_path_factory.mktemp("gif") / "a.gif"
    path.write_bytes(gif(b"\x21\xfe another one") + b"")
    append_comment(path, text)
    content = path.read_bytes()
    assert last_comment(content) == text
    assert last_comment(b"\x21\xfe" + before + content) == text
    assert last_comment(content[:-1]) is None
