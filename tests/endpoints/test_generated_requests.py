"""Generated requests through the real server: a valid one becomes the promised video, a faulty one is always 422."""

import base64
import io
import json

import av
import pytest
from corpus import SOURCES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import promise
from PIL import Image, ImageSequence
from requests_to import MISSING, faults, valid

from serving import data_uri, picture, serving

# The Pro endpoints' smallest video has 144 frames of 1080p; tests/api/test_every_option.py makes theirs.
OPEN = [source for source in SOURCES if not any(field.name == "duration" for field in source.document.input)]
IMAGE, END_IMAGE = data_uri(picture(120, 80)), data_uri(picture(80, 80))
SIDES = st.integers(64, 160)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("generated"), mock_seconds=0) as server, server.client() as client:
        yield client


@pytest.mark.parametrize("source", OPEN, ids=lambda source: source.name)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_valid_request_becomes_the_promised_video(client, source, data):
    sent = data.draw(valid(source))
    size = next(name for name in ("video_size", "resolution") if name in {f.name for f in source.document.input})
    # Small enough to make many of them; the full range of sizes and lengths is promised in test_plans.py.
    fixed = {"image_url": IMAGE, size: {"width": data.draw(SIDES), "height": data.draw(SIDES)}}
    fixed["num_frames"] = data.draw(st.integers(9, 30))
    if "end_image_url" in sent.body:
        fixed["end_image_url"] = END_IMAGE
    if "loras" in sent.body:
        # Nothing answers at the other paths; where they are fetched from is tested with what does.
        fixed["loras"] = [lora for lora in sent.body["loras"] if not lora["path"]]
    body = {name: value for name, value in sent.body.items() if name != "image_size"} | fixed
    if "\\u0000" in json.dumps(body):
        return  # refused at submit, see tests/api/test_bad_input.py
    expected = promise(source, sent.meant | fixed, (120, 80))

    answer = client.post(f"/run/{source.endpoint.id}", json=body)
    assert answer.status_code == 200, answer.text
    output = answer.json()
    content = _content(client, output["video"]["url"])
    width, height, frames, seconds, sound = _probe(content)
    assert (width, height) == expected.size
    assert seconds == pytest.approx(expected.num_frames / expected.fps, abs=0.011, rel=2e-3)
    if expected.container != "gif" or expected.fps <= 50:
        assert frames == expected.num_frames
    assert sound == expected.audio
    told = output["video"]
    assert (told["width"], told["height"], told["num_frames"]) == (width, height, frames)
    assert told["duration"] == pytest.approx(seconds, abs=0.011, rel=2e-3)
    assert told["file_size"] == len(content)
    assert output["prompt"] == expected.prompt
    if (seed := sent.meant.get("seed")) is not None:
        assert output["seed"] == seed


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_fault_is_422_at_its_place(client, source):
    base = {"prompt": "a test", "image_url": IMAGE} | ({"loras": []} if source.endpoint.id.endswith("/lora") else {})
    for fault in faults(source):
        body = {name: value for name, value in {**base, **fault.change}.items() if value is not MISSING}
        if "\\u0000" in json.dumps(body):
            continue
        answer = client.post(f"/run/{source.endpoint.id}", json=body)
        assert answer.status_code == 422, (fault, answer.text)
        told = [(tuple(detail["loc"]), detail["type"]) for detail in answer.json()["detail"]]
        assert (fault.loc, fault.type) in told, (fault, told)


def _content(client, url):
    return base64.b64decode(url.partition(",")[2]) if url.startswith("data:") else client.get(url).content


def _probe(content):
    """Width, height, frames, seconds, and whether there is sound."""
    if content.startswith(b"GIF"):
        with Image.open(io.BytesIO(content)) as image:
            frames = ImageSequence.all_frames(image)
            return *image.size, len(frames), sum(frame.info["duration"] for frame in frames) / 1000, False
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for packet in container.demux(stream) if packet.size)
        return stream.width, stream.height, frames, float(frames / stream.average_rate), bool(container.streams.audio)
