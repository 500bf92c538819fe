"""Parameters through the front door: what the log, the headers, the output and the file say of what was asked for."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from serving import data_uri, picture, serving, small, wait

B19 = "fal-ai/ltx-2-19b/image-to-video"
LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"
QUALITY = "fal-ai/ltx-2.3-quality/image-to-video"
MODELS = f"{B19}=tiny-ltx-2,{LORA}=tiny-ltx-2.3,{QUALITY}=without-limits"
PROSE = (
    "A small robot turns its head on a rainy street at night. Water drips from its shoulders. The camera holds still."
)
LARGE = {"video_size": {"width": 128, "height": 128}, "num_frames": 17}
FAST = {"video_quality": "low", "video_write_mode": "fast"}
QUIET = {"enable_prompt_expansion": False, "enable_safety_checker": False}


class Writer:
    """A text model's server that has one answer."""

    def __init__(self):
        self.asked = 0
        writer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                writer.asked += 1
                self.rfile.read(int(self.headers["content-length"]))
                body = json.dumps(
                    {"choices": [{"message": {"role": "assistant", "content": PROSE}, "finish_reason": "stop"}]}
                ).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join(10)
            self._server.server_close()


@pytest.fixture(scope="module")
def writer():
    with Writer().running() as writer:
        yield writer


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_models):
    """The tiny bundles, and one that computes any size."""
    from stillmotion.engine.tiny import build_tiny_bundle

    models = tmp_path_factory.mktemp("models")
    for name in ("tiny-ltx-2", "tiny-ltx-2.3"):
        (models / name).symlink_to(tiny_models / name)
    build_tiny_bundle(models / "without-limits", "ltx-2.3", max_pixels=1 << 30, max_frames=1000)
    return models


@pytest.fixture(scope="module")
def lora_folder(tmp_path_factory, tiny_models):
    """Two files that fit the tiny LTX-2.3, and some that do not."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("loras")
    own = tiny_models / "tiny-ltx-2.3"
    for name in ("dolly_left", "jib_up"):
        (folder / f"{name}.safetensors").write_bytes((own / f"lora-{name}.safetensors").read_bytes())
    other = tiny_models / "tiny-ltx-2" / "lora-distilled.safetensors"
    (folder / "other-family.safetensors").write_bytes(other.read_bytes())
    save_file({"some.weight": torch.ones(4, 4)}, folder / "random.safetensors")
    wan = {f"blocks.0.self_attn.q.lora_{side}.weight": torch.ones(4, 4) for side in "AB"}
    save_file(wan, folder / "wan.safetensors")
    damaged = load_file(own / "lora-jib_up.safetensors")
    next(iter(damaged.values()))[0, 0] = torch.nan
    save_file(damaged, folder / "not-finite.safetensors")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, models, lora_folder, writer):
    settings = {
        "models": models,
        "model": MODELS,
        "threads": 1,
        "lora_folder": lora_folder,
        "expansion": "server",
        "expansion_url": writer.url,
        "expansion_model": "writer",
        # A file that says how it was made would differ where the requests do.
        "embed_settings": "false",
    }
    with serving(tmp_path_factory.mktemp("parameters"), engine="process", **settings) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def submit(client, endpoint=LORA, **fields):
    body = small(**({"loras": []} if endpoint == LORA else {}) | FAST | QUIET | fields)
    return client.post(f"/queue/{endpoint}", json=body).json()


class Made:
    """A request that has come to its end."""

    def __init__(self, client, endpoint=LORA, **fields):
        self.request = submit(client, endpoint, **fields)
        status = wait(client, self.request, seconds=120)
        self.log = [line["message"] for line in status["logs"]]
        self.answer = client.get(self.request["response_url"])
        self._client = client

    @property
    def output(self):
        assert self.answer.status_code == 200, self.answer.text
        return self.answer.json()

    @property
    def file(self):
        return self._client.get(self.output["video"]["url"]).content

    def lines(self, begin):
        return [line for line in self.log if line.startswith(begin)]


def test_two_stages_with_every_kind_of_lora(client):
    made = Made(
        client,
        **LARGE,
        fps=24,
        seed=5,
        end_image_url=data_uri(picture(64, 64)),
        end_image_strength=0.8,
        camera_lora="dolly_left",
        camera_lora_scale=0.5,
        loras=[{"path": "local:jib_up.safetensors", "scale": 0.75}, {"path": "", "scale": 1}],
        enable_safety_checker=True,
    )
    video = made.output["video"]
    assert (video["width"], video["height"], video["num_frames"], video["fps"]) == (128, 128, 17, 24)
    assert (made.output["seed"], made.output["prompt"]) == (5, "a test")
    assert made.answer.headers["x-stillmotion-model"] == "tiny-ltx-2.3"
    assert made.answer.headers["x-stillmotion-safety"] == "unchecked"
    others = "dolly_left at 0.5, loras.0 at 0.75"
    assert [line for line in made.lines("stage ") if "schedule" in line] == [
        f"stage 1 of 2: 64x64, 17 frames at 24 fps, 8 steps, schedule beta, LoRAs distilled at 0.2, {others}",
        f"stage 2 of 2: 128x128, 17 frames at 24 fps, 3 steps, schedule distilled, LoRAs distilled at 0.5, {others}",
    ]
    assert "loras.0 is local:jib_up.safetensors" in made.log
    merged = [line for line in made.lines("stage ") if "layers merged" in line]
    assert [line.partition(":")[0] for line in merged] == ["stage 1 of 2", "stage 2 of 2"]
    for line, scale in zip(merged, ("0.2", "0.5"), strict=True):
        assert f"lora-distilled.safetensors x {scale}" in line
        assert "lora-dolly_left.safetensors x 0.5" in line
        assert " x 0.75" in line
    assert made.lines("denoising step") == [
        *(f"denoising step {step} of 8, stage 1 of 2" for step in range(1, 9)),
        *(f"denoising step {step} of 3, stage 2 of 2" for step in range(1, 4)),
    ]


def test_the_same_request_gives_the_same_bytes(client):
    """Whatever was made between: LoRAs leave no trace."""
    fields = {**LARGE, "end_image_url": data_uri(picture(64, 64))}
    lora = {"loras": [{"path": "local:dolly_left.safetensors", "scale": 2}], "distill_lora_first_pass_scale": 0}
    first = Made(client, **fields, seed=3)
    other, with_lora = Made(client, **fields, seed=4), Made(client, **fields, **lora, seed=3)
    again = Made(client, **fields, seed=3)
    assert first.file == again.file
    assert first.file not in (other.file, with_lora.file)
    without_seed = Made(client, **fields)
    assert Made(client, **fields, seed=without_seed.output["seed"]).file == without_seed.file


@pytest.mark.parametrize(
    "neutral",
    [
        {"loras": [{"path": "local:jib_up.safetensors", "scale": 0}]},
        {"camera_lora": "jib_up", "camera_lora_scale": 0},
        {"end_image_url": data_uri(picture(64, 64)), "end_image_strength": 0},
        {"gradient_estimation_gamma": 1},
        {"negative_prompt": "loud", "video_cfg_scale": 1, "audio_cfg_scale": 1},
    ],
    ids=lambda fields: ", ".join(fields),
)
def test_neutral_values_change_no_byte(client, neutral):
    unguided = {"video_cfg_scale": 1, "audio_cfg_scale": 1} if "negative_prompt" in neutral else {}
    assert Made(client, seed=9, **neutral).file == Made(client, seed=9, **unguided).file


def test_a_lora_is_the_same_by_each_of_its_names(client):
    """As the camera LoRA of the bundle, and as a file of the request."""
    camera = Made(client, seed=1, camera_lora="jib_up", camera_lora_scale=0.6)
    own = Made(client, seed=1, loras=[{"path": "local:jib_up.safetensors", "scale": 0.6}])
    plain = Made(client, seed=1)
    assert camera.file == own.file != plain.file


def test_acceleration_says_what_it_spared(client):
    exact, spared = (Made(client, num_inference_steps=15, acceleration=level, seed=2) for level in ("none", "regular"))
    assert not exact.lines("acceleration")
    (line,) = [line for line in spared.log if "acceleration regular" in line]
    assert "36 of 60 passes computed, 0 of 15 steps from cache" in line
    assert exact.file != spared.file


def test_an_expanded_prompt_is_the_one_that_is_used(client, writer):
    before = writer.asked
    made = Made(client, seed=6, enable_prompt_expansion=True)
    assert writer.asked == before + 1
    assert made.output["prompt"] == PROSE
    assert made.file == Made(client, seed=6, prompt=PROSE).file


def test_a_prompt_that_is_not_to_be_expanded_is_used_as_it_is(client, writer):
    before = writer.asked
    assert Made(client, enable_prompt_expansion=False).output["prompt"] == "a test"
    assert writer.asked == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("random", r"is not a LoRA: some.weight"),
        ("wan", "fits nothing in this model: blocks.0.self_attn.q"),
        ("other-family", "not all"),
        ("not-finite", "not finite numbers"),
    ],
)
def test_a_wrong_lora_is_refused_at_its_path(server, client, name, told):
    """It names keys; the engine goes on."""
    (engine,) = server.engine_pids() or [None]
    path = f"local:{name}.safetensors"
    made = Made(client, loras=[{"path": "local:jib_up.safetensors"}, {"path": path, "scale": 0.5}])
    assert made.answer.status_code == 422, made.answer.text
    assert made.answer.headers["x-fal-retryable"] == "false"
    (detail,) = made.answer.json()["detail"]
    message = detail.pop("msg")
    assert detail == {
        "loc": ["body", "loras", 1, "path"],
        "type": "value_error",
        "url": "https://docs.fal.ai/errors/#value_error",
        "input": path,
    }
    assert told in message
    assert str(server.data) not in message
    assert not made.lines("denoising step")
    assert Made(client).output["video"]["num_frames"] == 9
    assert engine in (None, *server.engine_pids())


def test_out_of_memory_is_told_and_the_engine_lives_on(server, client):
    """Once where an allocation fails, as the process may have 8 MB more than it has; once by the plan, with numbers."""
    tiny, large, huge = ({"resolution": {"width": side, "height": side}} for side in (64, 1024, 4096))
    more = {"num_frames": 241, "image_strength": 0}
    Made(client, QUALITY, **tiny)
    (engine,) = server.engine_pids()
    process = psutil.Process(engine)
    unlimited = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + (8 << 20), unlimited[1]))
    try:
        refused = [Made(client, QUALITY, **size, **more) for size in (large, huge)]
    finally:
        process.rlimit(psutil.RLIMIT_AS, unlimited)
    for made, size in zip(refused, ("1024x1024", "4096x4096"), strict=True):
        assert made.answer.status_code == 500, made.answer.text
        body = made.answer.json()
        assert body["error_type"] == "runner_server_error"
        assert body["detail"].startswith(f"out of memory on cpu for {size} and 241 frames: "), body
        assert "GiB more were needed" in body["detail"]
        assert made.answer.headers["x-fal-retryable"] == "false"
        assert not made.lines("denoising step 2")
    assert Made(client, QUALITY, **tiny).output["video"]["num_frames"] == 9
    assert server.engine_pids() == [engine]


def test_a_cancelled_request_ends_in_its_first_stage(client):
    size = {"video_size": {"width": 256, "height": 256}, "num_frames": 25}
    request = submit(client, **size, num_inference_steps=50)
    end = time.monotonic() + 60
    while "denoising step 2 of 50" not in client.get(request["status_url"], params={"logs": 1}).text:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert client.put(request["cancel_url"]).status_code == 202
    status = wait(client, request, seconds=10)
    assert status["error_type"] == "client_cancelled"
    assert not any("stage 2 of 2" in line["message"] for line in status["logs"] if "denoising" in line["message"])


def test_the_other_family_takes_the_same_parameters(client):
    made = Made(
        client, B19, **LARGE, camera_lora="jib_up", camera_lora_scale=0.5, acceleration="high", guidance_scale=2
    )
    assert made.answer.headers["x-stillmotion-model"] == "tiny-ltx-2"
    stages = [line for line in made.lines("stage ") if "schedule" in line]
    assert stages[0].endswith("8 steps, schedule ltx2, LoRAs jib_up at 0.5")
    assert stages[1].endswith("3 steps, schedule distilled, LoRAs distilled at 1, jib_up at 0.5")
    assert any("acceleration high" in line for line in made.log)
