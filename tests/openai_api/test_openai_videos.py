"""OpenAI's videos API with OpenAI's own Python client, as published, and what other clients may send."""

import io
import json
import subprocess
import sys
import time
import uuid

import av
import pytest
from PIL import Image

from requirements import need_package
from serving import ENDPOINT, clean_environment, picture, serving, small, submit, wait

PRO = "fal-ai/ltx-2.3/image-to-video"
SETTINGS = {"mock_seconds": 0.2, "openai_models": f"sora-2={ENDPOINT},default={PRO}"}
VIDEOS = "/openai/v1/videos"

PRELUDE = """
import json, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # the client says so of every method of its videos
import openai
client = openai.OpenAI(api_key=sys.argv[2], base_url=sys.argv[1] + "/openai/v1", max_retries=0)
picture = ("picture.png", bytes.fromhex(sys.argv[3]), "image/png")
def fault(call, **arguments):
    try:
        call(**arguments)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.type, error.param, error.code, str(error.message)]
out = {}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("openai"), **SETTINGS) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def program(server, code, key="any", tail="print(json.dumps(out))"):
    """What the client of OpenAI's sees, as ``code`` puts it into ``out``."""
    need_package("openai", "pip install 'stillmotion[dev]'")
    command = [sys.executable, "-c", f"{PRELUDE}{code}\n{tail}", server.http, key, picture().hex()]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def form(**fields):
    """What can be told apart in a form: the picture as a file, all others as text."""
    return {"data": {"prompt": "a test", "model": ENDPOINT, **fields}, "files": {"input_reference": picture()}}


def until_completed(client, id, seconds=60):
    end = time.monotonic() + seconds
    while (video := client.get(f"{VIDEOS}/{id}").json())["status"] in ("queued", "in_progress"):
        assert time.monotonic() < end, video
        time.sleep(0.03)
    return video


CREATE = """
video = client.videos.create_and_poll(
    prompt="a boat", model="sora-2", seconds="4", size="1280x720", input_reference=picture,
    extra_body={"num_inference_steps": 8, "generate_audio": False, "seed": 7, "fps": 10}, poll_interval_ms=50,
)
content = client.videos.download_content(video.id)
thumbnail = client.videos.download_content(video.id, variant="thumbnail")
out = {
    "video": video.model_dump(), "again": client.videos.retrieve(video.id).model_dump(),
    "content": content.content.hex(), "type": content.response.headers["content-type"],
    "thumbnail": thumbnail.content.hex(),
    "listed": [each.id for each in client.videos.list(limit=1)],
    "deleted": client.videos.delete(video.id).model_dump(),
    "gone": [
        fault(client.videos.retrieve, video_id=video.id), fault(client.videos.download_content, video_id=video.id)
    ],
    "left": [each.id for each in client.videos.list()],
}
"""


def test_a_video_from_its_creation_to_its_end(server):
    told = program(server, CREATE)
    video = told["video"]
    assert video == told["again"]
    assert video["id"].startswith("video_")
    assert {name: video[name] for name in ("object", "status", "progress", "model", "prompt", "error")} == {
        "object": "video",
        "status": "completed",
        "progress": 100,
        "model": "sora-2",
        "prompt": "a boat",
        "error": None,
    }
    assert (video["seconds"], video["size"]) == ("4", "1280x720")
    assert video["created_at"] <= video["completed_at"] <= time.time()
    assert told["type"] == "video/mp4"
    with av.open(io.BytesIO(bytes.fromhex(told["content"]))) as file:
        (stream,) = file.streams  # no sound, as was asked for beside OpenAI's own words
        assert (stream.width, stream.height, stream.frames, stream.average_rate) == (1280, 720, 40, 10)
    assert Image.open(io.BytesIO(bytes.fromhex(told["thumbnail"]))).size[0] >= 64
    assert video["id"] in told["listed"]
    assert told["deleted"] == {"id": video["id"], "deleted": True, "object": "video.deleted"}
    for name, status, type, _, code, _message in told["gone"]:
        assert (name, status, type, code) == ("NotFoundError", 404, "invalid_request_error", "not_found")
    assert video["id"] not in told["left"]


FAULTS = """
make = client.videos.create
out = {
    "no picture": fault(make, prompt="x", model="sora-2"),
    "model": fault(make, prompt="x", model="sora-3", input_reference=picture),
    "seconds": fault(make, prompt="x", model="sora-2", seconds="soon", input_reference=picture),
    "too long": fault(make, prompt="x", model="sora-2", seconds="100", input_reference=picture),
    "of pro": fault(make, prompt="x", seconds="4", input_reference=picture),
    "size": fault(make, prompt="x", model="sora-2", size="wide", input_reference=picture),
    "size of pro": fault(make, prompt="x", size="1280x720", input_reference=picture),
    "side": fault(make, prompt="x", model="sora-2", size="16x16", input_reference=picture),
    "prompt": fault(make, prompt="", model="sora-2", input_reference=picture),
    "field": fault(make, prompt="x", model="sora-2", input_reference=picture, extra_body={"fps": 1000}),
    "unknown": fault(make, prompt="x", model="sora-2", input_reference=picture, extra_body={"quality": "hd"}),
    "one reader": fault(make, prompt="x", model="sora-2", input_reference=picture, extra_body={"sync_mode": True}),
    "video": fault(client.videos.retrieve, video_id="video_123"),
    "edit": fault(client.videos.edit, prompt="x", video=b"a video"),
    "before": len(client.videos.list().data),
}
"""


def test_faults_are_told_at_once_in_openais_shape(tmp_path):
    with serving(tmp_path, **SETTINGS) as server:
        told = program(server, FAULTS)
    assert told.pop("before") == 0  # nothing was stored
    missing, invalid = "missing_required_parameter", "invalid_value"
    expected = {
        "no picture": ("BadRequestError", 400, "input_reference", missing),
        "model": ("NotFoundError", 404, "model", "model_not_found"),
        "seconds": ("BadRequestError", 400, "seconds", invalid),
        "too long": ("BadRequestError", 400, "seconds", "less_than_equal"),
        "of pro": ("BadRequestError", 400, "seconds", "one_of"),
        "size": ("BadRequestError", 400, "size", invalid),
        "size of pro": ("BadRequestError", 400, "size", "value_error"),
        "side": ("BadRequestError", 400, "size", "greater_than_equal"),
        "prompt": ("BadRequestError", 400, "prompt", missing),
        "field": ("BadRequestError", 400, "fps", "less_than_equal"),
        "unknown": ("BadRequestError", 400, "quality", "unknown_parameter"),
        "one reader": ("BadRequestError", 400, "sync_mode", "unknown_parameter"),
        "video": ("NotFoundError", 404, None, "not_found"),
        "edit": ("BadRequestError", 400, None, "unsupported"),
    }
    assert {name: (each[0], each[1], each[3], each[4]) for name, each in told.items()} == expected
    assert {each[2] for each in told.values()} == {"invalid_request_error"}
    assert "1920x1080" in told["size of pro"][5]
    assert "6, 8 or 10" in told["of pro"][5]


def test_the_default_model_and_sizes_that_have_a_name(client):
    fields = {"prompt": "x", "size": "1080x1920", "seconds": "6"}
    video = client.post(VIDEOS, data=fields, files=form()["files"]).json()
    assert (video["model"], video["seconds"], video["size"]) == (PRO, "6", "1080x1920")
    asked = client.get(f"/v1/requests/{uuid.UUID(video['id'].removeprefix('video_'))}").json()
    assert {name: asked["input"][name] for name in ("duration", "resolution", "aspect_ratio")} == {
        "duration": 6,
        "resolution": "1080p",
        "aspect_ratio": "9:16",
    }
    assert client.delete(f"{VIDEOS}/{video['id']}").json()["deleted"] is True


def test_what_the_picture_decides_is_told_when_it_is_known(client):
    video = client.post(VIDEOS, **form(num_frames="9", num_inference_steps="8")).json()
    assert (video["size"], video["seconds"]) == ("auto", "0.36")
    done = until_completed(client, video["id"])
    width, height = map(int, done["size"].split("x"))
    assert width * 64 == pytest.approx(height * 96, rel=0.1)  # the picture's own shape


@pytest.mark.parametrize("encoding", ["json", "nested form"])
def test_a_picture_by_its_url(client, encoding):
    fields = {"prompt": "x", "model": ENDPOINT, "size": "64x64", "num_frames": 9, "num_inference_steps": 8}
    url = small()["image_url"]
    if encoding == "json":
        body = {"json": {**fields, "seconds": None, "input_reference": {"image_url": url}}}
    else:
        body = {"data": {**fields, "input_reference[image_url]": url}}
    video = client.post(VIDEOS, **body).json()
    assert until_completed(client, video["id"])["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"json": {"prompt": 3, "model": ENDPOINT}}, "prompt"),
        ({"json": {"prompt": "x", "model": [ENDPOINT]}}, "model"),
        ({"json": {"prompt": "x", "model": ENDPOINT, "seconds": True}}, "seconds"),
        ({"json": {"prompt": "x", "model": ENDPOINT, "seconds": 10**300}}, "seconds"),
        ({"json": {"prompt": "x", "model": ENDPOINT, "seconds": "nan"}}, "seconds"),
        ({"json": {"prompt": "x", "model": ENDPOINT, "size": 720}}, "size"),
        ({"json": {"prompt": "x", "model": ENDPOINT, "input_reference": {"file_id": "file-1"}}}, "input_reference"),
        ({"json": {"prompt": "x", "model": ENDPOINT, "input_reference": "http://a"}}, "input_reference"),
        ({"json": {**small(), "model": ENDPOINT, "input_reference": {"image_url": "data:,"}}}, "input_reference"),
        ({"data": {"prompt": "x", "model": ENDPOINT, "loras[][path]": "x"}}, "loras[][path]"),
        ({"data": {"prompt": "x"}, "files": {"mask": b"x"}}, "mask"),
        ({"json": {**small(fps="fast"), "model": ENDPOINT, "seconds": 4}}, "fps"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, None),
        ({"content": b"[]", "headers": {"content-type": "application/json"}}, None),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, None),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "prompt"),
    ],
)
def test_bodies_that_no_client_should_send(client, body, param):
    answer = client.post(VIDEOS, **body)
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert told.keys() == {"error"}
    assert told["error"].keys() == {"message", "type", "param", "code"}
    assert told["error"]["param"] == param


def test_paths_that_are_not_there(client):
    for method, path, status in (
        ("GET", "/openai/v1/files", 404),
        ("PUT", VIDEOS, 405),
        ("POST", "/openai/v1/videos/video_1/nothing", 404),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error")


MODELS = """
out = {"all": [each.model_dump() for each in client.models.list()], "one": client.models.retrieve("sora-2").id,
       "ours": client.models.retrieve("fal-ai/ltx-2-19b/image-to-video").id,
       "none": fault(client.models.retrieve, model="gpt-4")}
"""


def test_models(server):
    told = program(server, MODELS)
    ids = [model["id"] for model in told["all"]]
    assert {ENDPOINT, PRO, "sora-2"} <= set(ids)
    assert "default" not in ids
    assert len(ids) == len(set(ids))
    assert {model["object"] for model in told["all"]} == {"model"}
    assert (told["one"], told["ours"]) == ("sora-2", ENDPOINT)
    assert told["none"][:2] == ["NotFoundError", 404]


REMIX = """
first = client.videos.create_and_poll(prompt="a boat", model="sora-2", size="64x64", input_reference=picture,
    extra_body={"num_frames": 9, "num_inference_steps": 8}, poll_interval_ms=50)
again = client.videos.remix(first.id, prompt="a ship")
out = {"first": first.model_dump(), "again": client.videos.poll(again.id, poll_interval_ms=50).model_dump(),
       "no prompt": fault(client.videos.remix, video_id=first.id, prompt=""),
       "unknown": fault(client.videos.remix, video_id="video_1", prompt="x")}
"""


def test_a_remix_has_the_picture_and_the_seed_and_another_prompt(server, client):
    told = program(server, REMIX)
    first, again = told["first"], told["again"]
    assert (again["status"], again["prompt"], again["remixed_from_video_id"]) == ("completed", "a ship", first["id"])
    assert (again["model"], again["size"], again["seconds"]) == ("sora-2", "64x64", first["seconds"])
    assert told["no prompt"][3] == "prompt"
    assert told["unknown"][1] == 404
    items = {item["prompt"]: item for item in client.get("/v1/requests").json()["items"]}
    assert items["a boat"]["seed"] == items["a ship"]["seed"]


ASYNC = """
import asyncio
async def main():
    async with openai.AsyncOpenAI(api_key="any", base_url=sys.argv[1] + "/openai/v1", max_retries=0) as client:
        made = [await client.videos.create(prompt=f"number {n}", model="sora-2", size="64x64", seconds="4",
                input_reference=picture, extra_body={"num_inference_steps": 8, "fps": 4}) for n in range(3)]
        for each in made:
            assert (await client.videos.poll(each.id, poll_interval_ms=50)).status == "completed"
        page = await client.videos.list(limit=2)
        return [each.id for each in made], [each.id for each in page.data], page.has_more, [
            each.id async for each in client.videos.list(limit=2)][:3]
out = asyncio.run(main())
"""


def test_the_asynchronous_client_and_pages(server):
    made, page, has_more, walked = program(server, ASYNC)
    assert page == made[:0:-1]  # the newest first
    assert has_more is True
    assert walked == made[::-1]  # over the border of a page


def test_one_queue_for_both_apis(server, client):
    request = submit(client, prompt="by fal's client")
    wait(client, request)
    code = (
        f"video = client.videos.retrieve('video_' + {request['request_id']!r}.replace('-', ''))\nout = video.to_dict()"
    )
    told = program(server, code)
    assert (told["prompt"], told["model"], told["status"]) == ("by fal's client", ENDPOINT, "completed")
    assert (told["size"], told["seconds"]) == ("64x64", "0.36")
    assert client.get(f"{VIDEOS}/{request['request_id']}").json() == told


def test_a_picture_that_is_none_fails_the_video(client):
    body = {**form(), "files": {"input_reference": b"not a picture"}}
    failed = until_completed(client, client.post(VIDEOS, **body).json()["id"])
    assert failed["status"] == "failed"
    assert failed["progress"] == 0
    assert failed["error"]["code"] == "unsupported_image_format"
    assert failed["error"]["param"] == "input_reference"
    content = client.get(f"{VIDEOS}/{failed['id']}/content")
    assert (content.status_code, content.json()["error"]["code"]) == (400, "video_not_ready")
    assert client.delete(f"{VIDEOS}/{failed['id']}").json()["deleted"] is True


def test_progress_and_deleting_what_waits_or_runs(tmp_path):
    with serving(tmp_path, mock_slots=1, mock_seconds=20) as server, server.client() as client:
        running, waiting = (client.post(VIDEOS, **form(size="64x64", num_frames="9")).json()["id"] for _ in range(2))
        end = time.monotonic() + 30
        seen = set()
        while len(seen) < 3:
            video = client.get(f"{VIDEOS}/{running}").json()
            assert video["status"] in ("queued", "in_progress")
            assert 0 <= video["progress"] < 100
            seen.add(video["progress"])
            assert time.monotonic() < end
            time.sleep(0.05)
        assert client.get(f"{VIDEOS}/{waiting}").json()["status"] == "queued"
        assert client.get(f"{VIDEOS}/{running}/content").json()["error"]["code"] == "video_not_ready"
        assert (
            client.post(f"{VIDEOS}/{running}/remix", json={"prompt": "x"}).json()["error"]["code"] == "video_not_ready"
        )
        listed = client.get(VIDEOS).json()
        assert [video["id"] for video in listed["data"]] == [waiting, running]
        assert listed["data"][1]["progress"] > 0
        for id in (waiting, running):
            assert client.delete(f"{VIDEOS}/{id}").json() == {"id": id, "object": "video.deleted", "deleted": True}
            assert client.get(f"{VIDEOS}/{id}").status_code == 404
        assert client.get(VIDEOS).json()["data"] == []


def test_a_listing_is_asked_for_in_words_that_it_knows(client):
    for query, param in (({"order": "asc"}, "order"), ({"limit": "0"}, None), ({"limit": "x"}, None)):
        answer = client.get(VIDEOS, params=query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert client.get(VIDEOS, params={"after": "video_1"}).status_code == 404


def test_the_same_creation_under_one_key_is_one_video(client):
    told = [client.post(VIDEOS, **form(size="64x64"), headers={"idempotency-key": "one"}).json() for _ in range(2)]
    assert told[0]["id"] == told[1]["id"]
    other = client.post(VIDEOS, **form(size="128x64"), headers={"idempotency-key": "one"})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")


def test_a_name_for_an_endpoint_that_is_not_there_stops_the_start(tmp_path):
    command = [sys.executable, "-m", "stillmotion", "serve", "--data", str(tmp_path), "--engine", "mock", "--port", "0"]
    environment = clean_environment({"STILLMOTION_OPENAI_MODELS": "sora-2=fal-ai/none"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "openai_models: sora-2=fal-ai/none" in done.stderr
    assert "Traceback" not in done.stderr
