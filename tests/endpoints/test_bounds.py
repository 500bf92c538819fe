"""The bounds that the documents leave open: stated, configurable, and exact at their edges."""

import dataclasses
import re
from pathlib import Path

import pytest

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.errors import ValidationError

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text()


def test_the_page_states_every_bound_with_its_default():
    section = PAGE.partition("## Bounds that the documents leave open")[2].partition("\n## ")[0]
    stated = re.findall(r"^\| `(\w+)` \| (\S+) \|", section, re.MULTILINE)
    assert stated == [(name, str(value)) for name, value in dataclasses.asdict(Bounds()).items()]


@pytest.mark.parametrize(
    ("model", "bound", "limit", "loc", "within", "beyond"),
    [
        ("19b", "max_prompt_chars", 1100, ("prompt",), "x" * 1100, "x" * 1101),
        ("quality", "max_prompt_chars", 9, ("negative_prompt",), "x" * 9, "x" * 10),
        ("19b", "min_side", 66, ("video_size", "width"), 66, 65),
        ("19b", "max_side", 600, ("image_size", "height"), 600, 601),
        ("19b", "max_megapixels", 32, ("video_size",), "square", "square_hd"),
        ("19b", "max_megapixels", 112, ("video_size",), "auto", {"width": 1280, "height": 736}),
        ("ltx-2/", "max_megapixels", 600, ("resolution",), "1440p", "2160p"),
        ("19b", "max_seed", 5, ("seed",), 5, 6),
        ("lora", "max_loras", 1, ("loras",), [{"path": ""}], [{"path": ""}] * 2),
        ("lora", "max_lora_scale", 2.0, ("loras", 0, "scale"), -2, -2.1),
        ("lora", "max_lora_path_chars", 3, ("loras", 0, "path"), "a/b", "a/bc"),
        ("quality", "min_frames", 2, ("num_frames",), 2, 1),
        ("quality", "max_frames", 500, ("num_frames",), 500, 501),
        ("quality", "min_fps", 0.5, ("frames_per_second",), 0.5, 0.4),
        ("quality", "max_fps", 90.0, ("frames_per_second",), 90, 90.1),
        ("quality", "max_steps", 40, ("num_inference_steps",), 40, 41),
        ("quality", "max_guidance_scale", 12.0, ("guidance_scale",), 12, 12.1),
    ],
)
def test_every_bound_can_be_chosen(model, bound, limit, loc, within, beyond):
    endpoint, bounds = next(each for id, each in CATALOGUE.items() if model in id), Bounds(**{bound: limit})
    endpoint.parse(body(model, loc, within), bounds)
    with pytest.raises(ValidationError) as caught:
        endpoint.parse(body(model, loc, beyond), bounds)
    (detail,) = caught.value.details
    assert detail.loc == ("body", *loc)
    # The limit is told, so that the caller need not guess.
    (told,) = detail.ctx.values()
    assert abs(told) == limit


def body(model, loc, value):
    made = {"prompt": "a cat", "image_url": "data:,", "negative_prompt": ""}
    match loc:
        case (name,):
            made[name] = value
        case (name, side):
            made[name] = {side: value}
        case (name, _, part):
            made[name] = [{"path": "", part: value}]
    return made if "loras" in made or model != "lora" else made | {"loras": []}


def test_a_prompt_that_the_document_itself_has_fits():
    longest = max(len(field.get_default() or "") for field in negative_prompts())
    assert longest < Bounds().max_prompt_chars


def negative_prompts():
    for endpoint in CATALOGUE.values():
        if field := endpoint.input.model_fields.get("negative_prompt"):
            yield field
