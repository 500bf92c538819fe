"""Pictures of results, and copies that browsers play."""

import asyncio
from io import BytesIO
from pathlib import Path

import av
import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving import picture
from stillmotion.media.poster import write_poster
from stillmotion.media.thumbnail import MAX_BYTES
from stillmotion.media.yuv import planar

OUTPUTS = {"gif": "GIF (.gif)", "mov": "PRORES4444 (.mov)", "mp4": "X264 (.mp4)", "webm": "VP9 (.webm)"}


@settings(max_examples=12)
@given(st.integers(32, 900), st.integers(32, 900), st.sampled_from(["noise", "photograph"]), st.integers(0, 9))
def test_a_poster_is_small_and_shows_the_frame(tmp_path_factory, half_width, half_height, kind, seed):
    width, height = 2 * half_width, 2 * half_height
    if kind == "noise":
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    else:
        with Image.open(BytesIO(picture(960, 640))) as image:
            pixels = np.asarray(image.resize((width, height)))
    path = tmp_path_factory.mktemp("poster") / "poster.webp"
    write_poster(planar(pixels[None])[0], width, height, path)
    assert path.stat().st_size <= MAX_BYTES
    with Image.open(path) as image:
        assert image.format == "WEBP"
        assert max(image.size) <= 480
        if kind == "photograph":
            assert max(image.size) == min(480, max(width, height))
            assert abs(image.width / image.height / (width / height) - 1) <= 1 / min(image.size)
            shown, meant = np.asarray(image.convert("RGB"), float), Image.fromarray(pixels).resize(image.size)
            # As a whole: neither another frame nor another range or matrix.
            assert abs(shown.mean((0, 1)) - np.asarray(meant, float).mean((0, 1))).max() < 1
            assert abs(shown - np.asarray(meant, float)).mean() < 5


def first_frame(content):
    with av.open(BytesIO(content)) as container:
        return np.asarray(next(container.decode(video=0)).to_image().convert("RGB"), float)


def about(content):
    with av.open(BytesIO(content)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(video=0))
        return {
            "size": (stream.width, stream.height),
            "frames": count,
            "codec": stream.codec_context.name,
            "seconds": float(stream.duration * stream.time_base),
            "sound": [stream.codec_context.name for stream in container.streams.audio],
        }


@pytest.mark.parametrize("container", OUTPUTS)
def test_every_result_has_a_poster_beside_it(client, made, container):
    request = made(video_output_type=OUTPUTS[container], video_size={"width": 640, "height": 360})
    found = client.get(f"/v1/requests/{request['request_id']}/poster")
    assert found.status_code == 302
    told = client.get(f"/v1/requests/{request['request_id']}/poster?redirect=false").json()
    assert told["url"] == found.headers["location"]
    poster = client.get(told["url"])
    assert (poster.headers["content-type"], len(poster.content)) == ("image/webp", told["size"])
    with Image.open(BytesIO(poster.content)) as image:
        assert image.size == (480, 270)
        shown = np.asarray(image.convert("RGB"), float)
    video = client.get(client.get(request["response_url"]).json()["video"]["url"]).content
    meant = Image.fromarray(first_frame(video).astype(np.uint8)).resize((480, 270))
    assert abs(shown - np.asarray(meant, float)).mean() < 12


def test_a_poster_expires_with_its_video(client, made):
    request = made({"x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": 1}'})
    item = client.get(f"/v1/requests/{request['request_id']}").json()
    urls = [url for url in (item["poster_url"], item["video_url"]) if url]
    for _ in range(100):
        if all(client.get(url).status_code == 404 for url in urls):
            break
        asyncio.run(asyncio.sleep(0.1))
    later = client.get(f"/v1/requests/{request['request_id']}").json()
    assert (later["poster_url"], later["video_url"], later["playable_url"]) == (None, None, None)
    assert all(client.get(url).status_code == 404 for url in urls)
    assert client.get(f"/v1/requests/{request['request_id']}/playable").status_code == 404


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_what_browsers_play_is_its_own_playable_copy(client, made, container):
    request = made(video_output_type=OUTPUTS[container])
    found = client.get(f"/v1/requests/{request['request_id']}/playable")
    assert found.headers["location"] == client.get(request["response_url"]).json()["video"]["url"]


@pytest.mark.parametrize(
    ("container", "fps", "size", "copied"),
    [
        ("mov", 24, (640, 360), (640, 360)),
        ("gif", 24, (98, 170), (98, 170)),
        ("mov", 25, (760, 1300), (720, 1232)),
    ],
)
def test_a_copy_has_the_same_pictures_and_length(pages_server, client, made, container, fps, size, copied):
    request = made(
        video_output_type=OUTPUTS[container], fps=fps, video_size=dict(zip(("width", "height"), size, strict=True))
    )
    id = request["request_id"]
    assert client.get(f"/v1/requests/{id}").json()["playable_url"] is None

    async def ask_at_once():
        async with httpx2.AsyncClient(base_url=pages_server.http, timeout=60, trust_env=False) as several:
            asked = [several.get(f"/v1/requests/{id}/playable?redirect=false") for _ in range(3)]
            return [answer.json() for answer in await asyncio.gather(*asked)]

    told = asyncio.run(ask_at_once())
    assert told[0] == told[1] == told[2]
    assert client.get(f"/v1/requests/{id}").json()["playable_url"] == told[0]["url"]
    original = client.get(client.get(request["response_url"]).json()["video"]["url"]).content
    copy = client.get(told[0]["url"])
    assert copy.headers["content-type"] == told[0]["content_type"] == "video/mp4"
    before, after = about(original), about(copy.content)
    assert (after["codec"], after["size"], after["frames"]) == ("h264", copied, before["frames"])
    assert after["seconds"] == pytest.approx(before["seconds"], abs=0.001)
    assert after["sound"] == (["aac"] if container == "mov" else [])
    small = Image.fromarray(first_frame(original).astype(np.uint8)).resize(copied)
    assert abs(first_frame(copy.content) - np.asarray(small, float)).mean() < 8
    part = client.get(told[0]["url"], headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, copy.content[4:8])
    # It goes with its original.
    client.delete(f"/v1/models/requests/{id}/payloads")
    assert client.get(told[0]["url"]).status_code == 404
    blobs = [path.name for path in Path(pages_server.data, "files", "blobs").rglob("*.*")]
    assert told[0]["url"].rpartition("/")[2] not in blobs
