"""The real engine behind the real server: the same calls, and deaths in the middle of a generation."""

import io
import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from serving import ENDPOINT, data_uri, picture, serving, submit, wait


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_models):
    settings = {"models": tiny_models, "model": "all=tiny-ltx-2", "threads": 2}
    with serving(tmp_path_factory.mktemp("engine"), engine="process", **settings) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


# Long in the sampler, where it is interrupted, and cheap in the encoder.
LONG = {
    "num_inference_steps": 50,
    "num_frames": 25,
    "video_size": {"width": 256, "height": 256},
    "video_quality": "low",
    "video_write_mode": "fast",
}


def wait_for_step(client, request, step):
    end = time.monotonic() + 60
    line = f"denoising step {step} of"
    while True:
        status = client.get(request["status_url"], params={"logs": 1}).json()
        if any(line in entry["message"] for entry in status["logs"] or []):
            assert status["status"] == "IN_PROGRESS", "too fast to be interrupted"
            return
        assert time.monotonic() < end, status
        time.sleep(0.01)


def test_the_engine_makes_exactly_what_was_asked_for(client):
    request = submit(client, num_frames=25, num_inference_steps=8, video_size={"width": 130, "height": 98}, fps=24)
    status = wait(client, request)
    assert "error" not in status, status
    messages = [line["message"] for line in status["logs"]]
    assert [message for message in messages if "denoising step" in message] == [
        f"denoising step {step} of {steps}, stage {stage} of 2"
        for stage, steps in ((1, 8), (2, 3))
        for step in range(1, steps + 1)
    ]
    assert any(message.startswith("engine process ") and str(os.getpid()) not in message for message in messages)
    answer = client.get(request["response_url"])
    assert answer.headers["x-stillmotion-model"] == "tiny-ltx-2"
    video = answer.json()["video"]
    assert (video["width"], video["height"], video["num_frames"], video["fps"]) == (130, 98, 25, 24)
    with av.open(io.BytesIO(client.get(video["url"]).content)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        container.seek(0)
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert np.stack(frames).shape == (25, 98, 130, 3)
    assert min(np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)) > 1
    assert sound.std() > 0.01


def test_the_seed_decides(client):
    def made(seed):
        request = submit(client, seed=seed)
        wait(client, request)
        return client.get(client.get(request["response_url"]).json()["video"]["url"]).content

    assert made(1) == made(1) != made(2)


def test_the_default_size_is_delivered_whatever_the_model_computes(client):
    """The tiny model computes 25 frames of 288x160; what the documents promise is delivered all the same."""
    body = {"prompt": "a test", "image_url": data_uri(picture(160, 90)), "num_inference_steps": 8, "num_frames": 33}
    body |= {"video_quality": "low", "video_write_mode": "fast"}  # noise of this size takes x264 half a minute else
    answer = client.post(f"/run/{ENDPOINT}", json=body, timeout=120)
    video = answer.json()["video"]
    assert (video["width"], video["height"], video["num_frames"], video["duration"]) == (1248, 704, 33, 1.32)


@pytest.mark.parametrize(
    ("endpoint", "size", "fields"),
    [
        ("fal-ai/ltx-2-19b/image-to-video", "video_size", {"interpolation_direction": "backward"}),
        ("fal-ai/ltx-2.3-22b/image-to-video/lora", "video_size", {"loras": [], "gradient_estimation_gamma": 2}),
        ("fal-ai/ltx-2.3-quality/image-to-video", "resolution", {}),
    ],
)
def test_every_open_endpoint_runs_on_the_engine(client, endpoint, size, fields):
    """The Pro endpoints go the same way; their smallest video, 150 frames of 1080p, takes x264 a minute of noise."""
    body = {"prompt": "a test", "image_url": data_uri(picture()), "num_frames": 17, size: {"width": 96, "height": 64}}
    if "22b" in endpoint or "19b" in endpoint:
        body |= {"end_image_url": data_uri(picture(64, 64)), "end_image_strength": 0.7}
    answer = client.post(f"/run/{endpoint}", json=body | fields, timeout=120)
    assert answer.status_code == 200, answer.text
    video = answer.json()["video"]
    assert (video["width"], video["height"], video["num_frames"]) == (96, 64, 17)


def test_without_sound_there_is_no_audio_track(client):
    request = submit(client, generate_audio=False)
    wait(client, request)
    content = client.get(client.get(request["response_url"]).json()["video"]["url"]).content
    with av.open(io.BytesIO(content)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_a_running_generation_is_cancelled_between_two_steps(client):
    request = submit(client, **LONG)
    wait_for_step(client, request, 2)
    began = time.monotonic()
    client.put(request["cancel_url"])
    status = wait(client, request, seconds=10)
    assert status["error_type"] == "client_cancelled"
    assert time.monotonic() - began < 5
    assert not any("denoising step 50" in line["message"] for line in status["logs"])


def test_a_killed_engine_costs_one_attempt(server, client):
    request = submit(client, **LONG)
    wait_for_step(client, request, 2)
    (engine,) = server.engine_pids()
    os.kill(engine, signal.SIGKILL)
    status = wait(client, request)
    assert "error" not in status, status
    messages = [line["message"] for line in status["logs"]]
    assert "attempt 1 of 3" in messages
    assert "attempt 2 of 3" in messages
    assert server.engine_pids() != [engine]


def test_a_killed_server_loses_nothing_and_leaves_no_engine(server):
    with server.client() as client:
        running = submit(client, **LONG)
        waiting = submit(client, seed=3)
        wait_for_step(client, running, 2)
        (engine,) = server.engine_pids()
        server.kill()
    end = time.monotonic() + 10
    while Path(f"/proc/{engine}").exists():
        assert time.monotonic() < end, "the engine outlived its server"
        time.sleep(0.05)
    server.start()
    with server.client() as client:
        for request in (running, waiting):
            status = wait(client, request)
            assert "error" not in status, status
            assert client.get(client.get(request["response_url"]).json()["video"]["url"]).status_code == 200
        log = client.get(running["status_url"], params={"logs": 1}).json()["logs"]
        assert any("runner of this attempt is gone" in line["message"] for line in log)


def test_it_stops_at_once_and_cleanly(server):
    engines = server.engine_pids()
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    assert not any(Path(f"/proc/{pid}").exists() for pid in engines)
