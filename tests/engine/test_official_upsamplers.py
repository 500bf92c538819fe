"""Published files of latent upsamplers: what each is, and that its weights arrive."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from official_layout import UPSAMPLERS, copied, hashed, manifest, write_sparse
from safetensors.torch import load_file, save_file

from stillmotion.engine.components import Components, load_components
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.official.networks import open_upsampler
from stillmotion.errors import BundleError
from stillmotion.job import Family, Upsampling

KINDS: tuple[Upsampling, ...] = ("spatial_x2", "temporal_x2")
WEIGHTS = "diffusion_pytorch_model.safetensors"


def kind_of(name: str) -> Upsampling:
    return "temporal_x2" if "temporal" in name else "spatial_x2"


def load(folder: Path) -> Components:
    return load_components(folder, load_manifest(folder), torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("name", [name for name in UPSAMPLERS if "x1.5" not in name])
def test_full_size_files_are_understood(name: str, metadata: bool, tmp_path: Path) -> None:
    path = write_sparse(name, tmp_path / "file.safetensors", metadata=metadata)
    upsampler = open_upsampler(path, kind_of(name))
    config = json.loads(upsampler.module.to_json_string())
    assert {key: config[key] for key in manifest(name)["diffusers_config"]} == manifest(name)["diffusers_config"]
    assert {name: list(tensor.shape) for name, tensor in upsampler.module.state_dict().items()} == {
        name: tensor["shape"] for name, tensor in manifest(name)["tensors"].items()
    }
    assert upsampler.placement.keys() == manifest(name)["tensors"].keys()


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_another_kind_is_refused_by_what_it_does(name: str, tmp_path: Path) -> None:
    path = write_sparse(name, tmp_path / "file.safetensors")
    does = "x2 in time" if "temporal" in name else "x1.5 in space" if "x1.5" in name else "x2 in space"
    for kind in KINDS:
        wanted = {"spatial_x2": "x2 in space", "temporal_x2": "x2 in time"}[kind]
        if does != wanted:
            with pytest.raises(BundleError, match=f"is an upsampler of {does}; {kind} needs one of {wanted}"):
                open_upsampler(path, kind)


def with_files(bundle: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the tiny bundle whose upsamplers are files with hashed values; ``changes`` of the manifest."""
    copied(bundle, folder)
    data = json.loads((folder / "stillmotion.json").read_text())
    for kind, name in data["upsamplers"].items():
        weights = load_file(folder / name / WEIGHTS)
        values = {key: hashed(f"{kind}.{key}", tuple(tensor.shape), torch.bfloat16) for key, tensor in weights.items()}
        save_file(values, folder / f"{kind}.safetensors")
        data["upsamplers"][kind] = f"{kind}.safetensors"
    (folder / "stillmotion.json").write_text(json.dumps(data | changes))
    return folder


def test_weights_arrive(bundles: Mapping[Family, Path], family: Family, tmp_path: Path) -> None:
    components = load(with_files(bundles[family], tmp_path / "bundle"))
    assert components.upsamplers.keys() == set(KINDS)
    for kind, upsampler in components.upsamplers.items():
        state = upsampler.state_dict()
        for key, value in state.items():
            assert torch.equal(value, hashed(f"{kind}.{key}", tuple(value.shape), torch.bfloat16).float()), key
        assert upsampler.config.use_rational_resampler == ("upsampler.conv.weight" in state)
        assert not upsampler.training


def test_a_file_computes_what_its_folder_does(
    bundles: Mapping[Family, Path], loaded: Mapping[Family, Components], family: Family, tmp_path: Path
) -> None:
    folder = with_files(bundles[family], tmp_path / "bundle")
    for kind in KINDS:
        name = load_manifest(bundles[family]).upsamplers[kind]
        save_file(load_file(bundles[family] / name / WEIGHTS), folder / f"{kind}.safetensors")
    latents = torch.randn(1, 8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for kind, upsampler in load(folder).upsamplers.items():
        assert torch.equal(upsampler(latents), loaded[family].upsamplers[kind](latents))


def test_folders_are_checked_for_what_they_do(bundles: Mapping[Family, Path], tmp_path: Path) -> None:
    folder = copied(bundles["ltx-2.3"], tmp_path / "bundle")
    data = json.loads((folder / "stillmotion.json").read_text())
    names = data["upsamplers"]
    data["upsamplers"] = {"spatial_x2": names["temporal_x2"], "temporal_x2": names["spatial_x2"]}
    (folder / "stillmotion.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="is an upsampler of x2 in time; spatial_x2 needs one of x2 in space"):
        load(folder)


def test_an_upsampler_for_other_latents_is_told(bundles: Mapping[Family, Path], tmp_path: Path) -> None:
    folder = with_files(bundles["ltx-2.3"], tmp_path / "bundle")
    weights = load_file(folder / "spatial_x2.safetensors")
    weights["initial_conv.weight"] = torch.ones(32, 16, 3, 3, 3)
    weights["final_conv.weight"], weights["final_conv.bias"] = torch.ones(16, 32, 3, 3, 3), torch.ones(16)
    save_file(weights, folder / "spatial_x2.safetensors")
    with pytest.raises(BundleError, match="is for 16 latent channels; the model has 8"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_conv.weight": None}, "is no latent upsampler: it has 23 tensors"),
        ({"initial_conv.weight": torch.ones(32, 8)}, "has no convolution of 2 or 3 dimensions at its start"),
        ({"upsampler.0.weight": torch.ones(96, 32, 3, 3)}, "upsampler enlarges 3-fold"),
        ({"upsampler.0.bias": None}, "upsampler lacks 1 tensors, upsampler.0.bias among them"),
        ({"res_blocks.0.conv1.bias": torch.ones(31)}, "has res_blocks.0.conv1.bias of shape [31], not [32]"),
        ({"attention.weight": torch.ones(1)}, "1 unknown tensors: attention.weight"),
    ],
)
def test_damaged_files_are_told(
    bundles: Mapping[Family, Path], changes: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.safetensors"
    weights = load_file(bundles["ltx-2.3"] / load_manifest(bundles["ltx-2.3"]).upsamplers["spatial_x2"] / WEIGHTS)
    save_file({key: value for key, value in (weights | changes).items() if value is not None}, path)
    with pytest.raises(BundleError) as caught:
        open_upsampler(path, "spatial_x2")
    assert message in caught.value.message
