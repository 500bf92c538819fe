"""Endpoints from a file beside the shipped ones: doubles for programs that use other endpoints of fal's too."""

import json
from io import BytesIO
from pathlib import Path
from textwrap import dedent

import httpx2
import pytest
from PIL import Image

from serving import ENDPOINT, data_uri, picture, serving, small
from stillmotion.endpoints.catalogue import CATALOGUE, catalogue
from stillmotion.errors import ConfigurationError
from stillmotion.testing import emulator

HEAD = """\
from pydantic import BaseModel
from stillmotion.testing import double

class Input(BaseModel):
    prompt: str
    seed: int | None = None

class WithSyncMode(Input):
    sync_mode: bool = False

def picture(job, media, url):
    size = {"width": media.width, "height": media.height}
    return {"images": [{"url": url, "content_type": media.content_type, **size}], "seed": job.seed}

def clip(job, media, url):
    return {"video": {"url": url, "duration": media.duration}, "said": job.prompt}

"""
DOUBLES = """
ENDPOINTS = [
    double("someone/painter", picture, input=Input, size=(640, 480)),
    double("someone/painter/again", picture, image_fields=["image_url"]),
    double("someone/filmer", clip, size=(64, 64), num_frames=9),
]
"""


def doubles(folder: Path, text: str) -> Path:
    file = folder / "doubles.py"
    file.write_text(HEAD + dedent(text))
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doubles")
    with serving(folder / "data", endpoint_files=doubles(folder, DOUBLES), mock_seconds=0.1) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


def run(client: httpx2.Client, endpoint: str, **fields: object) -> dict:
    answer = client.post(f"/run/{endpoint}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_picture_that_another_endpoint_takes(client):
    """What a text-to-image endpoint makes becomes a video here: the usual chain of a program."""
    painted = run(client, "someone/painter", prompt="a cat", seed=7)
    [image] = painted["images"]
    assert (painted["seed"], image["content_type"], image["width"], image["height"]) == (7, "image/png", 640, 480)
    file = client.get(image["url"])
    assert file.headers["content-type"] == "image/png"
    with Image.open(BytesIO(file.content)) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (640, 480))
    video = run(client, ENDPOINT, **small(image_url=image["url"], video_size="auto"))["video"]
    assert (video["width"], video["height"]) == (1056, 800)


def test_a_picture_is_as_large_as_the_one_it_is_made_from(client):
    painted = run(client, "someone/painter/again", image_url=data_uri(picture(300, 200)), prompt="again")
    assert (painted["images"][0]["width"], painted["images"][0]["height"]) == (300, 200)
    colours = [_mean(client.get(painted["images"][0]["url"]).content), _mean(picture(300, 200))]
    assert all(abs(one - other) < 24 for one, other in zip(*colours, strict=True)), colours


def test_other_seeds_are_other_pictures(client):
    urls = [run(client, "someone/painter", prompt="x", seed=seed)["images"][0]["url"] for seed in (1, 1, 2)]
    first, again, other = (client.get(url).content for url in urls)
    assert first == again
    assert first != other


def test_a_video_of_its_own(client):
    made = run(client, "someone/filmer", prompt="hello", sync_mode=True)
    assert (made["said"], made["video"]["duration"]) == ("hello", pytest.approx(9 / 25))
    assert client.get(made["video"]["url"]).headers["content-type"] == "video/mp4"


def test_its_input_is_checked_and_its_documents_are_served(client):
    refused = client.post("/run/someone/painter", json={"seed": 1})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "prompt"]
    described = client.get("/api/openapi/queue/openapi.json", params={"endpoint_id": "someone/painter"}).json()
    assert described["components"]["schemas"]["PainterInput"]["required"] == ["prompt"]
    for path in ("llms.txt", "api"):
        assert "someone/painter" in client.get(f"/models/someone/painter/{path}").text
    listed = [model["endpoint_id"] for model in client.get("/v1/models").json()["models"]]
    assert listed == [*CATALOGUE, "someone/painter", "someone/painter/again", "someone/filmer"]


def test_the_stream_tells_of_progress_then_the_answer(client):
    with client.stream("POST", "/run/someone/painter/stream", json={"prompt": "x"}) as stream:
        lines = [line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: ")]
    *steps, last = map(json.loads, lines)
    assert steps
    assert all(step["status"] == "IN_PROGRESS" for step in steps)
    assert last["images"][0]["url"].startswith(str(client.base_url))


def test_in_an_emulator_with_rules(tmp_path):
    with emulator(endpoint_files=[doubles(tmp_path, DOUBLES)], fetch_allow=["a.example", "b.example"]) as fal:
        fal.rules.add(504, match={"endpoint": "someone/*"}, times=1)
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} ", "--json", '{"prompt": "x"}']
        answers = fal.run(
            [*command, "https://fal.run/someone/filmer", "--next", *command[1:], "https://fal.run/fal-ai/flux"],
            capture_output=True,
            text=True,
        )
    assert answers.stdout == "504 404 "


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "ENDPOINTS"),
        ("ENDPOINTS = 1", "ENDPOINTS"),
        ("ENDPOINTS = [1]", "no Endpoint"),
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_module", "no_such_module"),
        ("ENDPOINTS = [double('painter', picture)]", "owner/alias"),
        ("ENDPOINTS = [double('a/b/requests', picture)]", "owner/alias"),
        ("ENDPOINTS = [double('a/../b', picture)]", "owner/alias"),
        (f"ENDPOINTS = [double({ENDPOINT!r}, picture)]", "already"),
        ("ENDPOINTS = [double('a/b', picture, input=WithSyncMode)]", "sync_mode"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, text, told):
    with pytest.raises(ConfigurationError, match=told) as raised:
        catalogue([doubles(tmp_path, text)])
    assert "doubles.py" in raised.value.message


def test_files_that_are_none_are_told(tmp_path):
    for file in (tmp_path / "missing.py", tmp_path / "words.txt", tmp_path):
        with pytest.raises(ConfigurationError, match=r"endpoint_files"):
            catalogue([file])


def test_without_files_there_are_the_shipped_ones():
    assert catalogue() == CATALOGUE


def _mean(content: bytes) -> tuple[int, ...]:
    with Image.open(BytesIO(content)) as image:
        pixel = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel
