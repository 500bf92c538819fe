"""The stages of every plan: they chain exactly, on the grid, within the limits; and the recipes come to these sizes."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from corpus import SOURCES
from hypothesis import given, settings
from hypothesis import strategies as st
from requests_to import valid

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.job import Guidance, Lora, Model

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text()
CAMERA = ("dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static")
LTX_2, LTX_2_3, B19, LORA, QUALITY = CATALOGUE.values()
FULL = Model(
    name="full", family="ltx-2.3", upsamplers=("spatial_x2", "temporal_x2"), loras=("distilled", "dolly_in", "static")
)
IMAGES = st.tuples(st.integers(16, 8000), st.integers(16, 8000)) | st.sampled_from([(1920, 1080), (1, 400), (400, 1)])
MODELS = st.builds(
    Model,
    name=st.just("drawn"),
    family=st.sampled_from(["ltx-2", "ltx-2.3"]),
    max_pixels=st.none() | st.integers(1024, 1 << 22),
    max_frames=st.none() | st.integers(9, 481),
    upsamplers=st.sampled_from([(), ("spatial_x2",), ("temporal_x2",), ("spatial_x2", "temporal_x2")]),
    loras=st.lists(st.sampled_from(("distilled", *CAMERA)), unique=True).map(tuple),
    distilled=st.booleans(),
    demonstration=st.booleans(),
)
every_endpoint = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def parse(endpoint, **fields):
    required = {"prompt": "a cat", "image_url": "data:,"}
    if "loras" in endpoint.input.model_fields:
        required["loras"] = []
    return endpoint.parse(required | fields, Bounds())


def plan(endpoint, model=FULL, image=(1920, 1080), **fields):
    return endpoint.plan(parse(endpoint, **fields), {"image_url": image}, 7, model)


def canvases(job):
    return [(stage.width, stage.height, stage.num_frames, stage.fps) for stage in job.stages]


def up(value, multiple):
    return -(-value // multiple) * multiple


@every_endpoint
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_chain_of_stages(source, data):
    sent, image, model = data.draw(valid(source)), data.draw(IMAGES), data.draw(MODELS)
    request = source.endpoint.parse(sent.body, Bounds())
    job, _, notes = source.endpoint.plan(request, {"image_url": image}, 7, model)
    stages, first, last = job.stages, job.stages[0], job.stages[-1]

    # Each doubles the one before, exactly.
    starts = [stage.start for stage in stages]
    assert starts[0] == "noise"
    for before, after in pairwise(stages):
        assert after.start in model.upsamplers
        doubled = (before.width, before.height, before.num_frames, before.fps)
        if after.start == "spatial_x2":
            doubled = (before.width * 2, before.height * 2, before.num_frames, before.fps)
        else:
            doubled = (before.width, before.height, 2 * (before.num_frames - 1) + 1, before.fps * 2)
        assert (after.width, after.height, after.num_frames, after.fps) == doubled
        # What refines is the published refinement, whatever the request asks of the first stage.
        assert (after.steps, after.schedule, after.video, after.audio) == (3, "distilled", Guidance(), Guidance())
        assert (after.gradient_gamma, after.restart) == (0, False)

    # On the grid, within the limits.
    for stage in stages:
        assert stage.width % 32 == stage.height % 32 == 0
        assert stage.num_frames % 8 == 1
        assert min(stage.width, stage.height) >= 32
        assert stage.num_frames >= 1
        assert stage.fps > 0
        assert stage.width * stage.height <= (model.max_pixels or 1 << 60)
        assert stage.num_frames <= (model.max_frames or 1 << 60)

    # The last one covers the delivery with less than one cell of its grid to spare, unless a limit caps it.
    cell, step = 32 << starts.count("spatial_x2"), 8 << starts.count("temporal_x2")
    covering = up(job.width, cell), up(job.height, cell)
    if model.max_pixels is None or covering[0] * covering[1] <= model.max_pixels:
        assert (last.width, last.height) == covering
    frames = up(job.num_frames - 1, step) + 1
    if model.max_frames is None or frames <= model.max_frames:
        assert (last.num_frames, last.fps) == (frames, job.fps)
    elif last.num_frames > 1:
        assert (last.num_frames - 1) / last.fps == pytest.approx((job.num_frames - 1) / job.fps)
    computes_less = last.width < job.width or last.height < job.height or last.num_frames < job.num_frames
    assert computes_less == any(note.startswith("model drawn computes") for note in notes)

    # Small first, where the endpoint and the request want that and the model can.
    wants = "duration" in source.endpoint.input.model_fields or getattr(request, "use_multiscale", False)
    if "spatial_x2" in starts:
        assert wants
        assert min(first.width, first.height) >= 64
        assert first.width * first.height <= 1 << 20 or min(first.width, first.height) < 160
    elif wants:
        assert any("one scale, the full size" in note for note in notes)
    if "temporal_x2" in starts:
        assert "duration" in source.endpoint.input.model_fields
        assert last.fps > 24
        assert starts.count("temporal_x2") == 1
        assert starts.index("temporal_x2") == (2 if "spatial_x2" in starts else 1)

    # Images lie within the video.
    places = [keyframe.frame for keyframe in job.keyframes]
    assert len(set(places)) == len(places)
    assert set(places) <= {0, job.num_frames - 1}


@every_endpoint
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_every_note_is_on_the_page(source, data):
    sent, image, model = data.draw(valid(source)), data.draw(IMAGES), data.draw(MODELS)
    request = source.endpoint.parse(sent.body, Bounds())
    notes = source.endpoint.plan(request, {"image_url": image}, 7, model).notes
    assert len(set(notes)) == len(notes)
    for note in notes:
        assert any(template.fullmatch(note) for template in NOTES), note


def templates():
    """The lines of the page's table: capital words stand for what a request puts there, brackets for what may lack."""
    section = PAGE.partition("## What the log tells")[2].partition("\n## ")[0]
    meaning = {"WxH": r"\d+x\d+", "N": r"[\d.]+", "MODEL": ".+", "NAME": r"\w+", "PATH": ".+", "LIST": ".+"}
    for line in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE):
        parts = [meaning.get(part) or re.escape(part) for part in re.split(r"\b(WxH|N|MODEL|NAME|PATH|LIST)\b", line)]
        yield re.compile("".join(parts).replace(r"\[", "(?:").replace(r"\]", ")?"))


NOTES = list(templates())


def test_two_scales_of_the_defaults():
    for endpoint, fps in ((B19, 25), (LORA, 24)):
        assert canvases(plan(endpoint).job) == [(640, 352, 121, fps), (1280, 704, 121, fps)]
        assert canvases(plan(endpoint, use_multiscale=False).job) == [(1248, 704, 121, fps)]
    assert canvases(plan(QUALITY).job) == [(1248, 704, 121, 24)]


@pytest.mark.parametrize(
    ("size", "first", "stages"),
    [
        ((64, 64), (64, 64), 1),
        ((96, 64), (96, 64), 1),
        ((128, 66), (64, 64), 2),
        ((130, 98), (96, 64), 2),
        ((1024, 1024), (512, 512), 2),
        ((2048, 2048), (1024, 1024), 2),
        ((3840, 2160), (960, 544), 3),
        ((4096, 4096), (1024, 1024), 3),
        ((4096, 64), (4096, 64), 1),
    ],
)
def test_how_small_the_first_stage_is(size, first, stages):
    job, _, notes = plan(LORA, video_size={"width": size[0], "height": size[1]})
    assert len(job.stages) == stages
    assert (job.stages[0].width, job.stages[0].height) == first
    assert (job.width, job.height) == size
    assert any("below 64 pixels" in note for note in notes) == (stages == 1)


PRO = {
    ("1080p", 25): ["960x544x153@25", "1920x1088x153@25"],
    ("1440p", 25): ["1280x736x153@25", "2560x1472x153@25"],
    ("2160p", 25): ["960x544x153@25", "1920x1088x153@25", "3840x2176x153@25"],
    ("1080p", 50): ["960x544x153@25", "1920x1088x153@25", "1920x1088x305@50"],
    ("1440p", 50): ["1280x736x153@25", "2560x1472x153@25", "2560x1472x305@50"],
    ("2160p", 50): ["960x544x153@25", "1920x1088x153@25", "1920x1088x305@50", "3840x2176x305@50"],
}


@pytest.mark.parametrize(("tier", "fps"), PRO)
@pytest.mark.parametrize("endpoint", [LTX_2, LTX_2_3], ids=["ltx-2", "ltx-2.3"])
def test_the_pro_recipes(endpoint, tier, fps):
    job = plan(endpoint, resolution=tier, fps=fps).job
    told = [f"{width}x{height}x{frames}@{rate:g}" for width, height, frames, rate in canvases(job)]
    assert told == PRO[tier, fps]
    upright = plan(endpoint, image=(1080, 1920), resolution=tier, fps=fps).job
    assert [(stage.height, stage.width) for stage in upright.stages] == [
        (stage.width, stage.height) for stage in job.stages
    ]
    first, *later = job.stages
    assert (first.steps, first.schedule, first.loras) == (40 if endpoint is LTX_2 else 30, "ltx2", ())
    assert first.video == Guidance(cfg=3, stg=1, rescale=0.7, modality=3)
    assert first.audio == Guidance(cfg=7, stg=1, rescale=0.7, modality=3)
    scale = 1.0 if endpoint is LTX_2 else 0.5
    assert {stage.loras for stage in later} == {(Lora(name="distilled", scale=scale, bundled=True),)}
    assert (job.check_safety, job.expand_prompt, job.acceleration) == (True, False, "none")


def test_the_page_states_the_pro_recipes():
    stated = re.findall(r"^\| (\d+p), ([\d, ]+) fps \| (.+) \|$", PAGE, re.MULTILINE)
    assert {(tier, int(rates.split(", ")[-1])): stages.split(", ") for tier, rates, stages in stated} == PRO


@pytest.mark.parametrize("fps", [48, 50])
def test_a_model_without_temporal_upsampler_computes_every_frame(fps):
    model = Model(name="still", family="ltx-2.3", upsamplers=("spatial_x2",))
    job, _, notes = plan(LTX_2_3, model, fps=fps)
    assert [stage.fps for stage in job.stages] == [fps, fps]
    assert all(stage.num_frames >= 6 * fps for stage in job.stages)
    assert f"model still has no temporal upsampler: every stage has {fps} frames per second" in notes


def test_a_limit_on_frames_that_slows_the_video_needs_no_temporal_stage():
    model = Model(name="short", family="ltx-2", max_frames=25, upsamplers=("spatial_x2", "temporal_x2"))
    assert {stage.num_frames for stage in plan(LTX_2, model, fps=50).job.stages} == {25}


def test_a_model_without_spatial_upsampler_computes_one_scale():
    model = Model(name="flat", family="ltx-2", upsamplers=("temporal_x2",))
    job, _, notes = plan(LTX_2, model, fps=50)
    assert canvases(job) == [(1920, 1088, 153, 25), (1920, 1088, 305, 50)]
    assert "model flat has no spatial upsampler: one scale, the full size" in notes


def test_the_first_stage_alone_samples_as_the_request_says():
    fields = {"scheduler": "linear_quadratic", "gradient_estimation_gamma": 2, "num_inference_steps": 20}
    first, second = plan(LORA, **fields, use_restart_sampling=True).job.stages
    assert (first.schedule, first.gradient_gamma, first.steps, first.restart) == ("linear_quadratic", 2, 20, True)
    assert (second.schedule, second.gradient_gamma, second.steps, second.restart) == ("distilled", 0, 3, False)


def test_the_quality_endpoint_is_single_stage_distilled():
    for guidance in (1, 3):
        (stage,) = plan(QUALITY, guidance_scale=guidance).job.stages
        assert (stage.steps, stage.schedule, stage.restart) == (15, "ltx2", True)
        assert stage.video == stage.audio == Guidance(cfg=guidance)
        assert stage.loras == (Lora(name="distilled", scale=0.5, bundled=True),)


DISTILLED = Model(
    name="fast", family="ltx-2.3", distilled=True, upsamplers=("spatial_x2", "temporal_x2"), loras=("distilled",)
)


@pytest.mark.parametrize("endpoint", [B19, LORA, LTX_2, LTX_2_3], ids=lambda endpoint: endpoint.id)
def test_distilled_weights_have_defaults_of_their_own(endpoint):
    job, _, notes = plan(endpoint, DISTILLED)
    first = job.stages[0]
    assert (first.steps, first.schedule, first.video, first.audio) == (8, "distilled", Guidance(), Guidance())
    assert all(stage.loras == () for stage in job.stages)
    assert any(note.startswith("model fast is distilled") for note in notes)


def test_a_value_that_was_sent_is_kept_on_distilled_weights():
    first = plan(LORA, DISTILLED, video_cfg_scale=3, audio_stg_scale="0.5").job.stages[0]
    assert (first.video, first.audio) == (Guidance(cfg=3), Guidance(stg=0.5))
    assert (first.steps, first.schedule) == (8, "distilled")
    for sent, meant in (({"num_inference_steps": 15}, (15, "beta")), ({"scheduler": "beta"}, (8, "beta"))):
        first = plan(LORA, DISTILLED, **sent).job.stages[0]
        assert (first.steps, first.schedule, first.video) == (*meant, Guidance())
    # Also where it is the document's default, and under another name than the documented one.
    first = plan(B19, DISTILLED, guidance_scale=3, image_size="square").job.stages[0]
    assert (first.video.cfg, first.steps) == (3, 8)
    everything = parse(LORA, **next(s for s in SOURCES if s.endpoint is LORA).document.full_example)
    stages = [LORA.plan(everything, {"image_url": (1920, 1080)}, 7, model).job.stages[0] for model in (FULL, DISTILLED)]
    assert stages[0].video == stages[1].video
    assert (stages[1].steps, stages[1].schedule) == (15, "beta")


def test_the_quality_defaults_suit_distilled_weights_as_they_are():
    (stage,) = plan(QUALITY, DISTILLED).job.stages
    assert (stage.steps, stage.schedule, stage.restart, stage.loras) == (15, "ltx2", True, ())


def test_development_weights_without_the_distilled_lora_say_so():
    model = Model(name="bare", family="ltx-2", upsamplers=("spatial_x2",))
    for endpoint in (LTX_2, B19, LORA, QUALITY):
        assert "model bare has no distilled LoRA: its own weights are used" in plan(endpoint, model).notes
    # A chain of one stage has no use for it.
    single = Model(name="single", family="ltx-2")
    for notes in (plan(B19, model, use_multiscale=False).notes, plan(B19, single).notes):
        assert not any("distilled LoRA" in note for note in notes)
