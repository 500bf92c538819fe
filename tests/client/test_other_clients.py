"""Clients of other makers that have fal as one of their providers: unchanged, under ``stillmotion exec``."""

import base64
import json
import subprocess
import sys

import pytest
from js_client import need_js_client, run_js

from serving import clean_environment, picture, serving

OPTIONS = {"num_frames": 9, "video_size": {"width": 64, "height": 64}}

# The hub would be asked which endpoint stands for a model; the client's own table, made for this, comes before that.
HUGGINGFACE = """
import json, sys
from huggingface_hub import InferenceClient
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers import _common

_common.HARDCODED_MODEL_INFERENCE_MAPPING["fal-ai"]["Lightricks/LTX-2"] = InferenceProviderMapping(
    provider="fal-ai",
    hf_model_id="Lightricks/LTX-2",
    providerId="fal-ai/ltx-2-19b/image-to-video",
    status="live",
    task="image-to-video",
)
client = InferenceClient(provider="fal-ai", api_key="id:secret")
video = client.image_to_video(
    sys.stdin.buffer.read(), model="Lightricks/LTX-2", prompt="a cat", seed=7, **json.loads(sys.argv[1])
)
sys.stdout.buffer.write(video)
"""
AI_SDK = """
import { createFal } from "@ai-sdk/fal";
import { experimental_generateVideo as generateVideo } from "ai";

const [image, options] = process.argv.slice(1);
const { video, providerMetadata } = await generateVideo({
  model: createFal({ apiKey: "id:secret" }).video("ltx-2-19b/image-to-video"),
  prompt: { image: Buffer.from(image, "base64"), text: "a cat" },
  seed: 7,
  providerOptions: { fal: { pollIntervalMs: 50, ...JSON.parse(options) } },
});
const start = Buffer.from(video.uint8Array.slice(4, 12)).toString();
console.log(JSON.stringify([video.mediaType, start, providerMetadata.fal]));
"""


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """The words before a command that run it as ``stillmotion exec`` does, on a server that runs already."""
    with serving(tmp_path_factory.mktemp("others"), mock_seconds=0.1) as server:
        yield (sys.executable, "-m", "stillmotion", "exec", "--url", server.https, "--data", str(server.data), "--")


def test_huggingface_hub(execute):
    done = subprocess.run(
        [*execute, sys.executable, "-c", HUGGINGFACE, json.dumps(OPTIONS)],
        input=picture(),
        env=clean_environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout[4:12] == b"ftypisom"


def test_the_ai_sdk(execute):
    need_js_client()
    image = base64.b64encode(picture()).decode()
    media_type, start, told = run_js(AI_SDK, image, json.dumps(OPTIONS), env=clean_environment(), prefix=execute)
    assert (media_type, start) == ("video/mp4", "ftypisom")
    assert (told["seed"], told["prompt"]) == (7, "a cat")
    assert [(video["width"], video["height"], video["fps"]) for video in told["videos"]] == [(64, 64, 25)]
