"""The neutral value of each parameter, from the request to the bytes: as if there were no such parameter.

Unless a test says otherwise the requests are plain: no guidance, Euler steps, one stage, no LoRA but the distilled one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from analytic import B19, LORA, OPEN, plan

from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.engine.engine import Engine
from stillmotion.job import Family, Job

Picture = npt.NDArray[np.uint8]
END = {"end_image_url": "data:,"}
LARGE = {"video_size": {"width": 128, "height": 128}, "use_multiscale": True}
GUIDED = {"video_cfg_scale": 3, "audio_cfg_scale": 7}
CAMERA = {"camera_lora": "dolly_left"}


@dataclass(frozen=True)
class Bytes:
    """What a job comes to, before it is written to a file."""

    frames: bytes
    sound: bytes


Generate = Callable[[Job], Bytes]


@pytest.fixture(scope="module")
def generate(engines: Mapping[Family, Engine], picture: Picture) -> Generate:
    """Each job once."""
    images = {"image_url": picture, "end_image_url": np.ascontiguousarray(picture[::-1, ::-1])}

    @cache
    def generated(job: Job) -> Bytes:
        made = engines["ltx-2.3"].generate(
            job, images, on_progress=lambda progress: None, should_stop=lambda: False, loras={"loras.0": Path("none")}
        )
        frames = b"".join(chunk.tobytes() for chunk in made.frames)
        return Bytes(frames, b"" if made.audio is None else made.audio.tobytes())

    return generated


@pytest.fixture(scope="module")
def request_bytes(engines: Mapping[Family, Engine], generate: Generate) -> Callable[..., Bytes]:
    model = engines["ltx-2.3"].manifest.model()
    return lambda endpoint, **fields: generate(plan(endpoint, model=model, **fields))


@pytest.mark.parametrize(
    ("endpoint", "neutral", "without"),
    [
        (B19, {**END, "end_image_strength": 0}, {}),
        (LORA, {"gradient_estimation_gamma": 1}, {"gradient_estimation_gamma": 0}),
        (LORA, {**GUIDED, **LARGE, "gradient_estimation_gamma": 1}, {**GUIDED, **LARGE}),
        (LORA, {"video_rescaling_scale": 0.9, "audio_rescaling_scale": 0.9}, {}),
        (B19, {"negative_prompt": "loud"}, {"negative_prompt": "blurry"}),
        (LORA, {"negative_prompt": "loud"}, {"negative_prompt": "blurry"}),
        (LORA, {"use_multiscale": True}, {"use_multiscale": False}),
        (LORA, {**CAMERA, "camera_lora_scale": 0}, {"camera_lora": "none"}),
        (B19, {**CAMERA, **LARGE, "camera_lora_scale": 0}, LARGE),
        (LORA, {"loras": [{"path": "owner/repo", "scale": 0}]}, {"loras": []}),
        (LORA, {"loras": [{"path": "", "scale": 1}]}, {"loras": []}),
        (B19, {**LARGE, "acceleration": "none"}, {**LARGE, "acceleration": "regular"}),  # nothing to carry over
        (LORA, {"enable_prompt_expansion": False, "enable_safety_checker": False}, {}),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, Mapping) else value.id.split("/")[1],
)
def test_neutral_values_change_no_byte(
    request_bytes: Callable[..., Bytes], endpoint: Endpoint, neutral: dict[str, Any], without: dict[str, Any]
) -> None:
    assert request_bytes(endpoint, **neutral) == request_bytes(endpoint, **without)


@pytest.mark.parametrize("endpoint", OPEN, ids=lambda endpoint: endpoint.id)
def test_a_start_image_of_no_strength_is_none(
    engines: Mapping[Family, Engine], generate: Generate, endpoint: Endpoint
) -> None:
    job = plan(endpoint, model=engines["ltx-2.3"].manifest.model(), image_strength=0)
    assert generate(job) == generate(replace(job, keyframes=()))


@pytest.mark.parametrize(("first", "second"), [(0, 0.5), (0.2, 0)])
def test_a_distilled_lora_of_no_scale_is_none(
    engines: Mapping[Family, Engine], generate: Generate, first: float, second: float
) -> None:
    """In the pass whose scale it is."""
    scales = {"distill_lora_first_pass_scale": first, "distill_lora_second_pass_scale": second}
    job = plan(LORA, model=engines["ltx-2.3"].manifest.model(), **LARGE, **scales)
    assert [bool(stage.loras) for stage in job.stages] == [bool(first), bool(second)]
    bare = [
        replace(stage, loras=()) if not scale else stage
        for stage, scale in zip(job.stages, (first, second), strict=True)
    ]
    assert generate(job) == generate(replace(job, stages=tuple(bare)))


@pytest.mark.parametrize("endpoint", [B19, LORA], ids=lambda endpoint: endpoint.id)
def test_backward_is_forward_with_the_images_and_strengths_exchanged(
    engines: Mapping[Family, Engine], picture: Picture, endpoint: Endpoint
) -> None:
    engine, other = engines["ltx-2.3"], np.ascontiguousarray(picture[::-1, ::-1])
    model = engine.manifest.model()

    def frames(images: Mapping[str, Picture], **fields: Any) -> bytes:
        job = plan(endpoint, model=model, **END, **fields)
        made = engine.generate(job, images, on_progress=lambda progress: None, should_stop=lambda: False)
        return b"".join(chunk.tobytes() for chunk in made.frames)

    backward = frames(
        {"image_url": picture, "end_image_url": other},
        interpolation_direction="backward",
        image_strength=0.8,
        end_image_strength=0.6,
    )
    forward = frames({"image_url": other, "end_image_url": picture}, image_strength=0.6, end_image_strength=0.8)
    assert backward == forward


@pytest.mark.parametrize("endpoint", OPEN, ids=lambda endpoint: endpoint.id)
def test_without_sound_the_pictures_are_the_same(request_bytes: Callable[..., Bytes], endpoint: Endpoint) -> None:
    with_sound, silent = request_bytes(endpoint), request_bytes(endpoint, generate_audio=False)
    assert silent.frames == with_sound.frames
    assert with_sound.sound
    assert not silent.sound
