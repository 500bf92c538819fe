"""Every input field of every endpoint does something: another value makes another plan, or needs another file."""

import re
from pathlib import Path

import pytest
from corpus import SOURCES
from documented import ABSENT
from oracle import default

from stillmotion.endpoints.bounds import Bounds
from stillmotion.job import Model

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text()
MODEL = Model(
    name="full",
    family="ltx-2.3",
    upsamplers=("spatial_x2", "temporal_x2"),
    loras=("distilled", "dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static"),
)
# With these every field has something to work on.
ACTIVE = {
    "prompt": "a cat",
    "image_url": "https://example.com/a.png",
    "end_image_url": "https://example.com/b.png",
    "camera_lora": "static",
    "loras": [{"path": "owner/repo", "scale": 0.5}],
}
OTHER = {
    "prompt": ["", "a dog"],
    "negative_prompt": ["", "a dog"],
    "image_url": ["https://example.com/c.png"],
    "end_image_url": ["https://example.com/c.png", None],
    "video_size": ["square", {"width": 640, "height": 480}, {"width": 640, "height": 482}],
    "loras": [[], [{"path": "owner/other", "scale": 0.5}], [{"path": "owner/repo", "scale": 0.25}]],
    "seed": [0, 1],
}
OTHER |= {"resolution": OTHER["video_size"]}
UNPRINTED = {
    "num_frames": [9, 128, 481],
    "frames_per_second": [1, 23.976, 60],
    "num_inference_steps": [2, 16, 30],
    "guidance_scale": [1.5, 10],
    "image_strength": [0, 0.5, 1],
}
FIELDS = [(source, field) for source in SOURCES for field in source.document.input]


def others(field):
    """Values that differ from what ``field`` is without being sent, or in ``ACTIVE``."""
    if field.options is not ABSENT and field.type != "ImageSize | Enum":
        values = field.options
    elif field.type == "boolean":
        values = [False, True]
    elif field.name in OTHER:
        return OTHER[field.name]
    elif field.range is not ABSENT:
        low, high = field.range
        values = [low, (low + high) // 2 if field.type == "integer" else (low + high) / 2, high]
    else:
        values = UNPRINTED[field.name]
    usual = ACTIVE.get(field.name, default(field))
    return [value for value in values if value != usual]


def made(source, **fields):
    """All that comes of a request: its plans for two pictures but for the notes, and the files that it needs."""
    names = {field.name for field in source.document.input}
    body = {name: value for name, value in (ACTIVE | fields).items() if name in names}
    request = source.endpoint.parse(body, Bounds())
    plans = [
        source.endpoint.plan(request, {"image_url": picture}, 7, MODEL)._replace(notes=())
        for picture in ((1920, 1080), (1080, 1920))
    ]
    return plans, source.endpoint.images(request), source.endpoint.loras(request, MODEL)


def without_a_plan():
    section = PAGE.partition("## Fields that make no plan")[2].partition("\n## ")[0]
    return re.findall(r"^- `(\w+)`", section, re.MULTILINE)


@pytest.mark.parametrize(("source", "field"), FIELDS, ids=lambda value: value.name)
def test_another_value_makes_another_plan(source, field):
    usual, values = made(source), others(field)
    assert values
    for value in values:
        if field.name in without_a_plan():
            assert made(source, **{field.name: value}) == usual
        else:
            assert made(source, **{field.name: value}) != usual, value


def test_the_page_lists_what_makes_no_plan():
    assert without_a_plan() == ["seed", "sync_mode"]
