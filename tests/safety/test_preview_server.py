"""Preview pictures of the real engine behind the real server: none of a video that is to be checked first."""

import base64
import json
from io import BytesIO

import pytest
from PIL import Image

from serving import ENDPOINT, serving, small

JPEG = "data:image/jpeg;base64,"
LARGER = {"seed": 5, "video_size": {"width": 130, "height": 98}, "num_inference_steps": 12}
CHECKED = "no preview pictures: the safety checker sees the video first"


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_models, red_classifier):
    settings = {"models": tiny_models, "model": "all=tiny-ltx-2", "threads": 1}
    settings |= {"safety_model": red_classifier, "preview_seconds": 0}
    with (
        serving(tmp_path_factory.mktemp("previews"), engine="process", **settings) as server,
        server.client() as client,
    ):
        yield client


def streamed(client, *, preview, **fields):
    """The pictures, the log and the file of a request."""
    body = small(**LARGER, **fields)
    with client.stream("POST", f"/run/{ENDPOINT}/stream", json=body, params={"preview": preview}) as answer:
        id = answer.headers["x-fal-request-id"]
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: ")]
    logs = client.get(f"/queue/fal-ai/ltx-2-19b/requests/{id}/status", params={"logs": 1}).json()["logs"]
    pictures = [event["preview"] for event in events if "preview" in event]
    return pictures, [line["message"] for line in logs], client.get(events[-1]["video"]["url"]).content


def test_pictures_for_whoever_asks_and_the_same_file(client):
    pictures, log, watched = streamed(client, preview=1, enable_safety_checker=False)
    assert pictures
    for uri in pictures:
        content = base64.b64decode(uri.removeprefix(JPEG))
        assert len(content) <= 20_000
        image = Image.open(BytesIO(content))
        # Of both stages, 96x64 and 192x128, cut like the delivery.
        assert image.size in ((85, 64), (130, 98))
    assert any("previews" in line for line in log if line.startswith("seconds:"))
    none, log, plain = streamed(client, preview=0, enable_safety_checker=False)
    assert none == []
    assert not any("preview" in line for line in log)
    assert watched == plain


def test_nobody_sees_a_video_before_its_checker(client):
    pictures, log, file = streamed(client, preview=1, enable_safety_checker=True)
    assert pictures == []
    assert CHECKED in log
    assert file
