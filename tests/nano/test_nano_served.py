"""What a server that nobody configured says and delivers; and the demonstration, as it is shown to people."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from filming import EXAMPLES, NANO, Studio, decoded
from measuring import TONES, nearest, psnr, strongest_frequency
from PIL import Image, ImageOps

from requirements import need_package
from serving import clean_environment

PROGRAM = """
import json, sys
from pathlib import Path
import fal_client

logs = []
def note(update):
    logs[:] = [line["message"] for line in getattr(update, "logs", None) or []] or logs

endpoint, image, arguments = sys.argv[1:]
result = fal_client.subscribe(
    endpoint,
    arguments={"image_url": fal_client.encode_file(Path(image)), **json.loads(arguments)},
    with_logs=True,
    on_queue_update=note,
)
print(json.dumps({"result": result, "logs": logs}))
"""


def test_every_endpoint_is_served_by_it(studio: Studio) -> None:
    with studio.server.client() as client:
        served = client.get("/v1/models/serving").json()["models"]
    assert len(served) == 5
    assert {(each["bundle"], each["kind"]) for each in served} == {("nano", "demonstration")}
    assert {each["licence"]["name"] for each in served} == {"Apache-2.0"}


def test_what_was_asked_for_is_delivered_whatever_is_computed(studio: Studio, tmp_path: Path) -> None:
    """Through fal's client, with everything left out that can be: more pixels and frames than it computes."""
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    asked = {"prompt": "dolly in", "video_size": {"width": 480, "height": 320}, "num_frames": 40, "fps": 20}
    told = studio.server.run_client(
        PROGRAM, "fal-ai/ltx-2-19b/image-to-video", str(EXAMPLES / "coffee.png"), json.dumps(asked), timeout=120
    )
    video = told["result"]["video"]
    assert (video["width"], video["height"], video["num_frames"], video["fps"]) == (480, 320, 40, 20)
    assert video["duration"] == pytest.approx(2)
    name = video["url"].rpartition("/")[2]
    file = tmp_path / "video.mp4"
    with studio.server.client() as client:
        file.write_bytes(client.get(f"/files/{name}").content)
    with av.open(str(file)) as container:
        assert container.streams.video[0].average_rate == 20
        sound = sum(frame.samples for frame in container.decode(audio=0)) / container.streams.audio[0].rate
    assert decoded(str(file)).shape == (40, 320, 480, 3)
    assert sound == pytest.approx(2, abs=0.05)
    log = told["logs"]
    assert "model nano computes 288x192 and 25 frames, scaled to 480x320 and 40 frames" in log
    assert "stage 1 of 2: 144x96, 25 frames at 12.3077 fps, 8 steps, schedule distilled" in log
    assert "model nano is a demonstration: it shows how everything works, not what LTX-2 can do" in log
    assert "this model cannot expand prompts; the prompt is used as it is" in log


@pytest.mark.parametrize("given", [None, 10])
@pytest.mark.parametrize(
    "endpoint", ["fal-ai/ltx-2-19b/image-to-video", "fal-ai/ltx-2.3-22b/image-to-video/lora"], ids=["19b", "22b"]
)
def test_only_steps_that_were_left_out_are_eight(studio: Studio, endpoint: str, given: int | None) -> None:
    fields = {"num_inference_steps": given} if given else {}
    film = studio.film("coffee.png", 1, endpoint=endpoint, num_frames=9, **fields)
    assert film.answer.headers["x-stillmotion-model"] == "nano"
    assert film.answer.headers["x-stillmotion-computed"] == "128x128, 9 frames"
    assert sum("denoising step" in line for line in film.log) == (given or 8)


def test_the_demonstration_moves_the_photograph(nano: None, tmp_path: Path) -> None:
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    video, preview = tmp_path / "demo.mp4", tmp_path / "demo.webp"
    command = ["demo", "-o", str(video), "--preview", str(preview)]
    environment = clean_environment({"STILLMOTION_MODELS": str(tmp_path / "models")})
    done = subprocess.run(
        [sys.executable, "-m", "stillmotion", *command], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", model nano, " in done.stdout
    frames = decoded(str(video))
    with Image.open(EXAMPLES / "chelsea.png") as image:
        shown = np.asarray(ImageOps.fit(image.convert("RGB"), (288, 192), Image.Resampling.LANCZOS), dtype=float)
    assert frames.shape == (25, 192, 288, 3)
    assert psnr(frames[0], shown) >= 20
    assert nearest(frames, shown) == "dolly_in"
    with av.open(str(video)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        rate = container.streams.audio[0].rate
    assert strongest_frequency(sound, rate) == pytest.approx(TONES["dolly_in"], rel=0.03)
    assert preview.stat().st_size <= 1_500_000
    with Image.open(preview) as picture:
        assert picture.n_frames == 25


def test_the_package_carries_it(nano: None) -> None:
    """Within its 40 MB, with its licence and its card."""
    assert sum(file.stat().st_size for file in NANO.rglob("*") if file.is_file()) <= 40_000_000
    assert "Apache License" in (NANO / "LICENSE").read_text()
    assert (NANO / "README.md").read_text().startswith("---\nlicense: apache-2.0\n")
