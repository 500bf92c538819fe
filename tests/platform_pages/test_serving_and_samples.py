"""What this server says of itself, the photographs that it offers, and the videos of the endpoints' cards."""

import time
from io import BytesIO
from uuid import uuid4

import av
import pytest
from PIL import Image

from serving import ENDPOINT, serving, small, submit, wait

MOCK_NOTE = "No model: the mock engine moves a window over the picture. Everything else is real."


def test_a_mock_says_that_it_is_one(client):
    told = client.get("/v1/models/serving").json()
    catalogue = [model["endpoint_id"] for model in client.get("/v1/models").json()["models"]]
    assert told["engine"] == "mock"
    assert [model["endpoint_id"] for model in told["models"]] == catalogue
    for model in told["models"]:
        assert (model["bundle"], model["kind"], model["note"], model["licence"]) == ("mock", "mock", MOCK_NOTE, None)
        assert client.get(model["photo_url"]).headers["content-type"] == "image/webp"
    assert {model["meant_for"] for model in told["models"]} == {"ltx-2", "ltx-2.3"}


def test_a_drained_engine_serves_nothing(client):
    assert all(model["available"] for model in client.get("/v1/models/serving").json()["models"])
    client.post("/v1/engines/mock/drain")
    try:
        assert not any(model["available"] for model in client.get("/v1/models/serving").json()["models"])
    finally:
        client.post("/v1/engines/mock/resume")


def test_the_photographs_are_what_they_are_said_to_be(client):
    samples = client.get("/v1/samples").json()["samples"]
    assert {sample["name"] for sample in samples} == {"coffee.png", "chelsea.png", "rocket.jpg"}
    for sample in samples:
        file = client.get(sample["url"])
        assert (file.headers["content-type"], len(file.content)) == (sample["content_type"], sample["size"])
        with Image.open(BytesIO(file.content)) as image:
            assert image.size == (sample["width"], sample["height"])
        thumbnail = client.get(sample["thumbnail_url"])
        assert len(thumbnail.content) <= 40_000
        with Image.open(BytesIO(thumbnail.content)) as image:
            assert (image.format, max(image.size)) == ("WEBP", min(480, sample["width"]))


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "127.0.0.1"])
def test_a_photograph_is_an_image_url_like_any_other(pages_server, client, host):
    port = pages_server.http.rpartition(":")[2]
    url = f"http://{host.format(port=port)}/samples/chelsea.png"
    request = client.post(f"/queue/{ENDPOINT}", json={**small(), "image_url": url, "video_size": "auto"}).json()
    wait(client, request)
    video = client.get(request["response_url"]).json()["video"]
    assert (video["width"], video["height"]) == (1152, 768)  # what auto makes of 451x300


@pytest.mark.parametrize("path", ["absent.png", "../pyproject.toml", "%2e%2e%2fpyproject.toml", "README.md", "coffee"])
def test_nothing_else_is_reached_there(client, path):
    assert client.get(f"/samples/{path}").status_code == 404
    answer = client.post(f"/queue/{ENDPOINT}", json={**small(), "image_url": f"http://127.0.0.1/samples/{path}"})
    wait(client, answer.json())
    assert client.get(answer.json()["response_url"]).json()["detail"][0]["type"] == "file_download_error"


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)
    return found


def rows(client):
    return client.get("/v1/usage").json()["days"]


def test_a_cards_video_is_made_on_an_idle_engine_and_is_nobodys_request(tmp_path):
    with serving(tmp_path, mock_seconds=0.2) as server, server.client() as client:
        url = f"/samples/{ENDPOINT}/loop.mp4"
        assert client.get(url).status_code == 404
        assert client.get("/samples/a/b/loop.mp4").status_code == 404
        found = until(lambda: answer if (answer := client.get(url)).status_code == 200 else None)
        assert found.headers["content-type"] == "video/mp4"
        with av.open(BytesIO(found.content)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 432, 270)
            assert stream.frames == 49
            assert not container.streams.audio
        assert client.get(url, headers={"range": "bytes=0-3"}).status_code == 206
        (model,) = [
            each for each in client.get("/v1/models/serving").json()["models"] if each["endpoint_id"] == ENDPOINT
        ]
        assert client.get(model["sample_url"]).content == found.content
        assert client.get("/v1/requests").json()["items"] == []
        assert client.get("/v1/models/requests/by-endpoint").json()["items"] == []
        until(lambda: not list((tmp_path / "files" / "work").iterdir()))
        assert [path for path in (tmp_path / "files" / "blobs").rglob("*.*") if path.is_file()] == []
        # Its time is told, as everybody's is.
        (day,) = rows(client)
        assert [(used["key"], used["request_count"]) for used in day["results"]] == [("~samples", 1)]
        server.stop()
        server.start()
        assert client.get(url).content == found.content


def test_a_cards_video_gives_way_to_any_request(tmp_path):
    with serving(tmp_path, mock_seconds=3, mock_slots=1) as server, server.client() as client:
        url = f"/samples/{ENDPOINT}/loop.mp4"
        assert client.get(url).status_code == 404
        until(lambda: client.get("/v1/queue").json()["running"])
        word = uuid4().hex
        request = submit(client, prompt=word)
        wait(client, request)
        item = client.get("/v1/requests", params={"q": word}).json()["items"][0]
        assert item["state"] == "done"
        log = server.log.read_text()
        ours = log.index(request["request_id"])
        assert '"state": "cancelled"' in log[:ours], "the card's request was not given up first"
        assert client.get(url).status_code == 404


def test_it_can_be_turned_off(tmp_path):
    with serving(tmp_path, mock_seconds=0, card_samples="false") as server, server.client() as client:
        assert client.get(f"/samples/{ENDPOINT}/loop.mp4").status_code == 404
        assert client.get("/v1/models/serving").json()["card_samples"] is False
        time.sleep(5)
        assert client.get(f"/samples/{ENDPOINT}/loop.mp4").status_code == 404
        assert rows(client) == []
