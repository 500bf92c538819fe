"""What a LoRA path says, which LoRAs each stage adds, and which are to be fetched for that."""

import re
from pathlib import Path

import pytest
from corpus import SOURCES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from requests_to import BAD_LORA_PATHS, LORA_PATHS, valid

from stillmotion.endpoints import loras
from stillmotion.endpoints.adapters import published_camera
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.loras import Local, Repository, Url
from stillmotion.job import Lora, Model

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text()
CAMERA = ("dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static")
_, _, B19, LORA, _ = CATALOGUE.values()
FULL = Model(
    name="full", family="ltx-2.3", upsamplers=("spatial_x2", "temporal_x2"), loras=("distilled", "dolly_in", "static")
)
MODELS = st.builds(
    Model,
    name=st.just("drawn"),
    family=st.sampled_from(["ltx-2", "ltx-2.3"]),
    upsamplers=st.sampled_from([(), ("spatial_x2",), ("spatial_x2", "temporal_x2")]),
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


def plan(endpoint, model=FULL, **fields):
    return endpoint.plan(parse(endpoint, **fields), {"image_url": (1920, 1080)}, 7, model)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("https://host:8443/a.safetensors?x=1", Url("https://host:8443/a.safetensors?x=1")),
        ("HTTP://host", Url("HTTP://host")),
        ("owner/repo", Repository(repo="owner/repo")),
        ("owner/repo/a.safetensors", Repository(repo="owner/repo", file="a.safetensors")),
        ("owner/re.po/b/c/a.safetensors", Repository(repo="owner/re.po", file="b/c/a.safetensors")),
        ("owner/repo@v1.0", Repository(repo="owner/repo", revision="v1.0")),
        ("owner/repo@main/b/a.safetensors", Repository(repo="owner/repo", revision="main", file="b/a.safetensors")),
        ("owner/a.safetensors", Repository(repo="owner/a.safetensors")),
        ("local:a.safetensors", Local("a.safetensors")),
        ("local:b/a.safetensors", Local("b/a.safetensors")),
    ],
)
def test_what_a_path_says(path, meant):
    assert loras.parse(path) == meant


@pytest.mark.parametrize("path", ["", *BAD_LORA_PATHS])
def test_what_is_no_path(path):
    assert loras.parse(path) is None


@given(
    st.text(st.sampled_from("ab./:@\\~ %_-é\0\n")) | st.from_regex(r"(local:)?[ab.@/]*(\.safetensors)?", fullmatch=True)
)
@example("local:a/./b.safetensors")
@example("a/b/.hidden.safetensors")
def test_no_path_leads_out_of_its_place(path):
    match loras.parse(path):
        case Local(name) | Repository(file=str(name)):
            assert not name.startswith(("/", ".", "~"))
            assert all(part and not part.startswith(".") for part in name.split("/"))
            assert not set(name) & set("\\:@ \0\n")


def test_the_page_states_the_grammar():
    section = PAGE.partition("## LoRAs")[2].partition("\n## ")[0]
    stated = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    kinds = [type(loras.parse(path)).__name__ for path in stated]
    assert kinds == ["Url", *["Repository"] * 4, "Local"]


def test_a_log_has_no_signature_of_a_url():
    secret = "https://user-files.example/a.safetensors?X-Signature=secret"
    notes = plan(LORA, loras=[{"path": secret}, {"path": "owner/repo@v1"}]).notes
    assert [note for note in notes if note.startswith("loras.")] == [
        "loras.0 is a file of user-files.example",
        "loras.1 is owner/repo@v1",
    ]
    assert "secret" not in str(notes)


def test_every_path_of_a_request_is_read_the_same_way_when_it_is_fetched():
    for path in filter(None, LORA_PATHS):
        assert LORA.loras(parse(LORA, loras=[{"path": path}]), FULL) == {"loras.0": path}


@every_endpoint
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_every_lora_is_in_the_bundle_or_will_be_fetched(source, data):
    sent, model = data.draw(valid(source)), data.draw(MODELS)
    request = source.endpoint.parse(sent.body, Bounds())
    job = source.endpoint.plan(request, {"image_url": (640, 480)}, 7, model).job
    used = [lora for stage in job.stages for lora in stage.loras]
    assert {lora.name for lora in used if lora.bundled} <= set(model.loras)
    assert {lora.name for lora in used if not lora.bundled} == source.endpoint.loras(request, model).keys()
    assert all(lora.scale != 0 for lora in used)
    for stage in job.stages:
        names = [lora.name for lora in stage.loras]
        assert len(set(names)) == len(names)
        assert "distilled" not in names or not model.distilled
    # All but the distilled one are the same in every stage.
    assert len({tuple(lora for lora in stage.loras if lora.name != "distilled") for stage in job.stages}) == 1


def test_each_lora_is_where_it_belongs():
    fields = {"camera_lora": "dolly_in", "camera_lora_scale": 0.75, "distill_lora_first_pass_scale": 0.3}
    fields["loras"] = [{"path": ""}, {"path": "owner/repo", "scale": -0.5}, {"path": "local:a.safetensors"}]
    request = parse(LORA, **fields, distill_lora_second_pass_scale=0.6)
    assert LORA.loras(request, FULL) == {"loras.1": "owner/repo", "loras.2": "local:a.safetensors"}
    same = (
        Lora(name="dolly_in", scale=0.75, bundled=True),
        Lora(name="loras.1", scale=-0.5),
        Lora(name="loras.2", scale=1),
    )
    first, second = LORA.plan(request, {"image_url": (1920, 1080)}, 7, FULL).job.stages
    assert first.loras == (Lora(name="distilled", scale=0.3, bundled=True), *same)
    assert second.loras == (Lora(name="distilled", scale=0.6, bundled=True), *same)
    # The 19b document has no scale of it.
    first, second = plan(B19, camera_lora="dolly_in").job.stages
    assert [lora.name for lora in first.loras] == ["dolly_in"]
    assert second.loras == (Lora(name="distilled", scale=1.0, bundled=True), *first.loras)


def test_a_scale_of_0_leaves_a_lora_out():
    fields = {"camera_lora": "jib_up", "camera_lora_scale": 0, "loras": [{"path": "owner/repo", "scale": 0}]}
    fields |= {"distill_lora_first_pass_scale": 0, "distill_lora_second_pass_scale": 0}
    job, _, notes = plan(LORA, **fields)
    assert [stage.loras for stage in job.stages] == [(), ()]
    assert LORA.loras(parse(LORA, **fields), FULL) == {}
    assert "camera_lora_scale is 0: no camera LoRA" in notes
    assert "loras.0 has scale 0: it is left out" in notes


def test_a_camera_lora_that_the_bundle_lacks_is_the_published_one():
    document = next(source.document for source in SOURCES if source.endpoint is B19)
    words = next(field for field in document.input if field.name == "camera_lora").options
    assert set(words) == {"none", *CAMERA}
    for word in (word for word in words if word not in ("none", *FULL.loras)):
        path = published_camera(word)
        assert B19.loras(parse(B19, camera_lora=word), FULL) == {"camera_lora": path}
        (stage,) = plan(B19, camera_lora=word, use_multiscale=False).job.stages
        assert stage.loras == (Lora(name="camera_lora"),)
    assert published_camera("dolly_in") == (
        "Lightricks/LTX-2-19b-LoRA-Camera-Control-Dolly-In/ltx-2-19b-lora-camera-control-dolly-in.safetensors"
    )
    assert published_camera("static").endswith("-Static/ltx-2-19b-lora-camera-control-static.safetensors")


def test_a_demonstration_fetches_no_camera_lora():
    model = Model(name="demo", family="ltx-2", demonstration=True)
    job, _, notes = plan(B19, model, camera_lora="static")
    assert (job.stages[0].loras, B19.loras(parse(B19, camera_lora="static"), model)) == ((), {})
    assert "model demo has no camera LoRA static: it is left out" in notes
