"""Bundles: what a manifest may say, what loading refuses, and the tiny ones."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stillmotion.engine.components import choose_device, choose_dtype
from stillmotion.engine.engine import Engine
from stillmotion.engine.manifest import Limits, load_manifest
from stillmotion.engine.tiny import build_tiny_bundle, main
from stillmotion.errors import BundleError
from stillmotion.job import Family, Model

ABSENT = object()


@pytest.fixture
def copy(bundles: Mapping[Family, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles["ltx-2.3"], tmp_path / "bundle"))


@pytest.fixture
def edit(copy: Path) -> Callable[..., Path]:
    def change(field: str, value: object) -> Path:
        path = copy / "stillmotion.json"
        data = json.loads(path.read_text())
        data.pop(field, None)
        if value is not ABSENT:
            data[field] = value
        path.write_text(json.dumps(data))
        return copy

    return change


def test_a_tiny_bundles_manifest(bundles: Mapping[Family, Path], family: Family) -> None:
    manifest = load_manifest(bundles[family])
    assert manifest.demonstration
    assert manifest.limits == Limits(max_pixels=65536, max_frames=25)
    assert manifest.model() == Model(
        name=f"tiny-{family}",
        family=family,
        max_pixels=65536,
        max_frames=25,
        upsamplers=tuple(manifest.upsamplers),
        loras=tuple(manifest.loras),
        demonstration=True,
    )
    assert manifest.checkpoint is None
    assert manifest.upsamplers.keys() == {"spatial_x2", "temporal_x2"}
    assert "distilled" in manifest.loras


def test_fields_with_defaults_may_be_absent(edit: Callable[..., Path]) -> None:
    for field in (
        "image_crf",
        "negative_prompt",
        "limits",
        "demonstration",
        "upsamplers",
        "can_expand_prompts",
        "spatial_multiple",
    ):
        manifest = load_manifest(edit(field, ABSENT))
    assert (manifest.image_crf, manifest.negative_prompt, manifest.demonstration) == (33, "", False)
    assert manifest.limits == Limits()
    assert load_manifest(edit("limits", None)).limits == Limits()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", ABSENT, "format must be 1"),
        ("format", 2, "format must be 1"),
        ("name", ABSENT, "name is missing"),
        ("name", "", "name is empty"),
        ("name", 3, "name must be str, not 3"),
        ("family", "ltx-3", "family must be one of ltx-2, ltx-2.3, not 'ltx-3'"),
        ("stg_block", ABSENT, "stg_block is missing"),
        ("stg_block", -1, "stg_block is at least 0"),
        ("max_sequence_length", True, "max_sequence_length must be int, not true"),
        ("max_sequence_length", 0, "max_sequence_length is at least 1"),
        ("image_crf", 52, "image_crf is at most 51"),
        ("spatial_multiple", 0, "spatial_multiple is at least 1"),
        ("demonstration", "yes", 'demonstration must be bool, not "yes"'),
        ("limits", {"max_pixels": 0}, "limits.max_pixels is at least 1"),
        ("limits", {"max_frame": 9}, "unknown limits.max_frame"),
        ("licence", ABSENT, "licence is missing"),
        ("licence", {"name": "X"}, "either a file or a url"),
        ("licence", {"name": "X", "file": "LICENSE.txt", "url": "https://example.org"}, "either a file or a url"),
        ("licence", {"name": "X", "file": "absent.txt"}, "lacks absent.txt"),
        ("licence", {"name": "X", "file": "../absent.txt"}, "of the bundle's own folder"),
        ("upsamplers", ["spatial_x2"], 'upsamplers must be dict, not ["spatial_x2"]'),
        ("upsamplers", {"spatial_x3": "folder"}, "upsamplers are spatial_x2 and temporal_x2, not spatial_x3"),
        ("upsamplers", {"spatial_x2": "absent"}, "lacks absent/config.json"),
        ("upsamplers", {"spatial_x2": "absent.safetensors"}, "lacks absent.safetensors"),
        ("upsamplers", {"spatial_x2": "../elsewhere"}, "upsamplers.spatial_x2 must name a file or folder"),
        ("loras", {"distilled": "absent.safetensors"}, "lacks absent.safetensors"),
        ("loras", {"distilled": ["a.safetensors"]}, "loras.distilled must name a file or folder"),
        ("checkpoint", "absent.safetensors", "lacks absent.safetensors"),
        ("checkpoint", "", "checkpoint must name a file or folder"),
        ("colour", "blue", "unknown colour"),
    ],
)
def test_a_wrong_manifest_is_told(edit: Callable[..., Path], field: str, value: object, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        load_manifest(edit(field, value))
    assert message in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_broken_manifest_is_told(copy: Path, text: str) -> None:
    (copy / "stillmotion.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=r"stillmotion\.json"):
        load_manifest(copy)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a model bundle"):
        load_manifest(tmp_path)


def test_every_missing_component_is_named(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(BundleError, match=r"lacks tokenizer/tokenizer_config\.json, vae/config\.json"):
        load_manifest(copy)


def test_reading_a_manifest_needs_no_network_package() -> None:
    script = "import sys, stillmotion.engine.manifest; assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("component", ["transformer", "text_encoder", "vocoder"])
def test_absent_weights_are_told(copy: Path, component: str) -> None:
    path = next((copy / component).glob("*.safetensors"))
    weights = load_file(path)
    del weights[max(weights)]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(BundleError, match=f"{component} lacks 1 weights"):
        Engine.load(copy, device="cpu")


@pytest.mark.parametrize("component", ["transformer", "text_encoder"])
def test_cut_off_weights_are_told(copy: Path, component: str) -> None:
    path = next((copy / component).glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match=f"{component} cannot be loaded"):
        Engine.load(copy, device="cpu")


def test_an_unknown_vocoder_is_told(copy: Path) -> None:
    path = copy / "vocoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "Theremin"}))
    with pytest.raises(BundleError, match="names no vocoder among LTX2Vocoder"):
        Engine.load(copy, device="cpu")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("family", "ltx-2", "of family ltx-2, but its transformer is ltx-2.3"),
        ("stg_block", 3, "stg_block 3 of 3 blocks"),
        ("max_sequence_length", 250, "250 is no multiple of the connectors' 16 registers"),
        ("spatial_multiple", 16, "the VAE compresses (32, 8), not by the model's multiples"),
    ],
)
def test_a_manifest_that_contradicts_the_networks_is_told(
    edit: Callable[..., Path], field: str, value: object, message: str
) -> None:
    with pytest.raises(BundleError) as caught:
        Engine.load(edit(field, value), device="cpu")
    assert message in caught.value.message


def test_stg_is_never_a_silent_no_op(engines: Mapping[Family, Engine], loaded: Mapping[Family, Any]) -> None:
    """LTX-2's own configuration leaves perturbed attention out, with the same weights."""
    assert all(components.transformer.config.perturbed_attn for components in loaded.values())


def test_building_is_repeatable_whole_and_polite(
    bundles: Mapping[Family, Path], family: Family, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    main([str(tmp_path / "new" / "bundle"), "--family", family])
    assert torch.equal(torch.get_rng_state(), state)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bundle"]
    built = {
        path.relative_to(tmp_path / "new" / "bundle") for path in (tmp_path / "new").rglob("*.*") if path.is_file()
    }
    assert built == {path.relative_to(bundles[family]) for path in bundles[family].rglob("*.*") if path.is_file()}
    for path in built:
        assert (tmp_path / "new" / "bundle" / path).read_bytes() == (bundles[family] / path).read_bytes(), path
    assert sum(path.stat().st_size for path in bundles[family].rglob("*") if path.is_file()) < 10_000_000
    with pytest.raises(FileExistsError):
        build_tiny_bundle(tmp_path / "new" / "bundle", family)


def test_another_seed_gives_other_weights(bundles: Mapping[Family, Path], tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path / "other", "ltx-2.3", seed=1, max_pixels=4096, max_frames=9)
    name = "transformer/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "other" / name).read_bytes() != (bundles["ltx-2.3"] / name).read_bytes()
    assert load_manifest(tmp_path / "other").limits == Limits(max_pixels=4096, max_frames=9)


def test_device_and_type_choice() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    available = [kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available()]
    assert choose_device("auto").type == (*available, "cpu")[0]
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(ValueError, match="auto, float32 or bfloat16"):
        choose_dtype("int3", torch.device("cpu"))
