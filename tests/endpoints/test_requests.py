"""What the endpoints accept beyond their documents, where each parameter goes, and what they answer."""

import pytest

from stillmotion.endpoints import ltx_2, ltx_2_3, ltx_2_3_22b_lora, ltx_2_3_quality, ltx_2_19b
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.errors import ValidationError
from stillmotion.job import Guidance, Keyframe, Media, Model

REQUIRED = {"prompt": "a cat", "image_url": "data:,"}
MODEL = Model(name="m", family="ltx-2")
MODULES = (ltx_2, ltx_2_3, ltx_2_19b, ltx_2_3_22b_lora, ltx_2_3_quality)
SIZED = {
    ltx_2_19b.ENDPOINT: "video_size",
    ltx_2_3_22b_lora.ENDPOINT: "video_size",
    ltx_2_3_quality.ENDPOINT: "resolution",
}
every_endpoint = pytest.mark.parametrize("endpoint", CATALOGUE.values(), ids=CATALOGUE)
every_sized = pytest.mark.parametrize(("endpoint", "size"), SIZED.items(), ids=lambda value: getattr(value, "id", ""))


def body_for(endpoint, **fields):
    return REQUIRED | ({"loras": []} if "loras" in endpoint.input.model_fields else {}) | fields


def parse(endpoint, **fields):
    return endpoint.parse(body_for(endpoint, **fields), Bounds())


def plan(endpoint, model=MODEL, image=(1920, 1080), **fields):
    return endpoint.plan(parse(endpoint, **fields), {"image_url": image}, 7, model)


def faults(endpoint, **fields):
    with pytest.raises(ValidationError) as caught:
        parse(endpoint, **fields)
    return [(detail.loc, detail.type) for detail in caught.value.details]


@pytest.mark.parametrize("endpoint", [ltx_2.ENDPOINT, ltx_2_3.ENDPOINT], ids=lambda endpoint: endpoint.id)
@pytest.mark.parametrize("spelled", [8, "8", "8s", 8.0])
def test_a_duration_may_have_its_unit_and_be_a_string(endpoint, spelled):
    assert plan(endpoint, duration=spelled, fps="50").job.num_frames == 400


@pytest.mark.parametrize("spelled", ["8sec", "8 s", "s", "", "8ss", "٨", "0x8", 8.5, "08.5"])
def test_a_duration_is_not_guessed(spelled):
    assert faults(ltx_2.ENDPOINT, duration=spelled) == [(("body", "duration"), "one_of")]


def test_a_rate_has_no_unit():
    assert faults(ltx_2.ENDPOINT, fps="25s") == [(("body", "fps"), "one_of")]


def test_the_values_that_are_expected_are_told():
    with pytest.raises(ValidationError) as caught:
        parse(ltx_2_19b.ENDPOINT, video_output_type="mp4", acceleration="warp")
    assert [detail.ctx["expected"] for detail in caught.value.details] == [
        ["none", "regular", "high", "full"],
        ["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)", "GIF (.gif)"],
    ]
    with pytest.raises(ValidationError) as caught:
        parse(ltx_2.ENDPOINT, duration=7)
    assert caught.value.details[0].ctx == {"expected": [6, 8, 10]}


@every_sized
def test_image_size_is_another_name_for_the_size(endpoint, size):
    custom = {"width": 640, "height": 360}
    assert getattr(parse(endpoint, image_size="square"), size) == "square"
    job = plan(endpoint, image_size=custom).job
    assert (job.width, job.height) == (640, 360)
    assert endpoint.unknown(body_for(endpoint, image_size=custom)) == ()
    assert "image_size" not in str(endpoint.input.model_json_schema())


@every_sized
def test_the_documented_name_wins_and_the_other_is_named(endpoint, size):
    body = body_for(endpoint, image_size="no such size", **{size: "square"})
    assert getattr(endpoint.parse(body, Bounds()), size) == "square"
    assert endpoint.unknown(body) == ("image_size",)


@every_endpoint
def test_unknown_fields_are_ignored_and_named(endpoint):
    body = body_for(endpoint, strength=1, loras_=[])
    assert endpoint.unknown(body) == ("strength", "loras_")
    assert endpoint.parse(body, Bounds()) == parse(endpoint)


@pytest.mark.parametrize("endpoint", [ltx_2.ENDPOINT, ltx_2_3.ENDPOINT], ids=lambda endpoint: endpoint.id)
def test_a_tier_is_not_an_image_size(endpoint):
    assert endpoint.unknown(body_for(endpoint, image_size="square")) == ("image_size",)
    assert faults(endpoint, resolution="square") == [(("body", "resolution"), "one_of")]


@pytest.mark.parametrize("loras", [[], [{"path": ""}], [{"path": "", "scale": 1}, {"path": ""}]])
def test_no_lora_is_said_so(loras):
    made = plan(ltx_2_3_22b_lora.ENDPOINT, loras=loras)
    assert "no LoRA: loras is empty or names no path" in made.notes
    assert all(stage.loras == () for stage in made.job.stages)


def test_all_faults_are_told_at_once():
    loras = [{"path": "/etc/passwd", "scale": 9}, {"path": ""}, {"path": "file:///etc/passwd"}]
    fields = {"prompt": "x" * 5001, "seed": -1, "video_size": {"width": 8, "height": 9000}, "loras": loras}
    assert faults(ltx_2_3_22b_lora.ENDPOINT, **fields) == [
        (("body", "prompt"), "sequence_too_long"),
        (("body", "seed"), "greater_than_equal"),
        (("body", "video_size", "width"), "greater_than_equal"),
        (("body", "video_size", "height"), "less_than_equal"),
        (("body", "loras", 0, "path"), "value_error"),
        (("body", "loras", 0, "scale"), "less_than_equal"),
        (("body", "loras", 2, "path"), "value_error"),
    ]


@pytest.mark.parametrize("endpoint", [ltx_2_19b.ENDPOINT, ltx_2_3_22b_lora.ENDPOINT], ids=lambda endpoint: endpoint.id)
def test_a_gif_is_silent(endpoint):
    job, encoding, _ = plan(endpoint, video_output_type="GIF (.gif)", fps=60)
    assert (encoding.container, job.audio, job.fps) == ("gif", False, 60)


def test_each_model_computes_what_its_recipe_says():
    stages = {module.ENDPOINT.id: plan(module.ENDPOINT).job.stages[0] for module in MODULES}
    assert {id: (stage.steps, stage.video.cfg, stage.audio.cfg, stage.schedule) for id, stage in stages.items()} == {
        "fal-ai/ltx-2/image-to-video": (40, 3.0, 7.0, "ltx2"),
        "fal-ai/ltx-2.3/image-to-video": (30, 3.0, 7.0, "ltx2"),
        "fal-ai/ltx-2-19b/image-to-video": (40, 3.0, 3.0, "ltx2"),
        "fal-ai/ltx-2.3-22b/image-to-video/lora": (15, 3.0, 7.0, "beta"),
        "fal-ai/ltx-2.3-quality/image-to-video": (15, 1.0, 1.0, "ltx2"),
    }
    strengths = [plan(module.ENDPOINT).job.keyframes[0].strength for module in MODULES]
    assert strengths == [1, 1, 1, 1, 0.7]
    assert plan(ltx_2.ENDPOINT).job.negative_prompt == plan(ltx_2_19b.ENDPOINT).job.negative_prompt
    assert plan(ltx_2_3.ENDPOINT).job.negative_prompt == plan(ltx_2_3_22b_lora.ENDPOINT).job.negative_prompt
    assert [module.ENDPOINT.model_family for module in MODULES] == ["ltx-2", "ltx-2.3", "ltx-2", "ltx-2.3", "ltx-2.3"]


def test_every_sampler_parameter_reaches_its_place():
    scales = {"cfg": 2, "stg": 0.5, "rescaling": 0.25, "modality": 4}
    fields = {f"video_{name}_scale": value for name, value in scales.items()}
    fields |= {f"audio_{name}_scale": value / 2 for name, value in scales.items()}
    fields |= {"scheduler": "linear_quadratic", "gradient_estimation_gamma": 2, "use_restart_sampling": False}
    (stage,) = plan(ltx_2_3_22b_lora.ENDPOINT, **fields).job.stages
    assert stage.video == Guidance(cfg=2, stg=0.5, rescale=0.25, modality=4)
    assert stage.audio == Guidance(cfg=1, stg=0.25, rescale=0.125, modality=2)
    assert (stage.schedule, stage.gradient_gamma, stage.restart) == ("linear_quadratic", 2, False)


@pytest.mark.parametrize("endpoint", [ltx_2_19b.ENDPOINT, ltx_2_3_22b_lora.ENDPOINT], ids=lambda endpoint: endpoint.id)
@pytest.mark.parametrize(("direction", "start", "end"), [("forward", 0, 16), ("backward", 16, 0)])
def test_the_direction_swaps_the_images_and_a_strength_stays_with_its_own(endpoint, direction, start, end):
    fields = {"num_frames": 17, "interpolation_direction": direction, "image_strength": 0.9}
    alone = Keyframe(image="image_url", frame=start, strength=0.9)
    assert plan(endpoint, **fields).job.keyframes == (alone,)
    both = plan(endpoint, **fields, end_image_url="data:,", end_image_strength=0.4).job.keyframes
    assert both == (alone, Keyframe(image="end_image_url", frame=end, strength=0.4))


def test_the_pro_endpoint_ends_on_its_end_image():
    job = plan(ltx_2_3.ENDPOINT, end_image_url="data:,").job
    assert [(keyframe.image, keyframe.frame) for keyframe in job.keyframes] == [
        ("image_url", 0),
        ("end_image_url", 149),
    ]


@every_sized
def test_an_odd_side_gains_a_pixel_and_says_so(endpoint, size):
    job, _, notes = plan(endpoint, **{size: {"width": 333, "height": 170}})
    assert (job.width, job.height) == (334, 170)
    assert "333x170 has an odd side; delivering 334x170" in notes


@every_endpoint
def test_a_model_that_computes_less_says_so(endpoint):
    small = Model(name="small", family="ltx-2", max_pixels=65536, max_frames=25)
    job, _, notes = plan(endpoint, model=small)
    stage = job.stages[-1]
    assert (stage.width * stage.height <= 65536, stage.num_frames) == (True, 25)
    delivered = f"{job.width}x{job.height} and {job.num_frames} frames"
    assert any(note.startswith("model small computes ") and note.endswith(f"scaled to {delivered}") for note in notes)


@every_endpoint
def test_the_output_says_what_is_in_the_file(endpoint):
    job = plan(endpoint, prompt="a dog").job
    media = Media(
        width=10, height=20, num_frames=30, fps=12.5, duration=2.4, size=99, content_type="image/gif", has_audio=False
    )
    answer = endpoint.respond(job, media, "/files/abc.gif")
    assert answer.pop("video") == {
        "url": "/files/abc.gif",
        "content_type": "image/gif",
        "file_name": "abc.gif",
        "file_size": 99,
        "width": 10,
        "height": 20,
        "fps": 12.5,
        "duration": 2.4,
        "num_frames": 30,
    }
    pro = endpoint in (ltx_2.ENDPOINT, ltx_2_3.ENDPOINT)
    assert answer == ({} if pro else {"seed": 7, "prompt": "a dog"})
    assert list(endpoint.output.model_fields) == ["video", *answer]
