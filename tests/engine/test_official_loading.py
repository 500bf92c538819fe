"""Weights of published files: each arrives where it should, as it should, and in no more memory than it needs."""

import json
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2VocoderWithBWE
from official_layout import (
    COMPONENTS,
    DROPPED,
    DTYPES,
    PUBLISHED,
    hashed,
    manifest,
    tiny_config,
    tiny_tensors,
    translated,
    with_published_vae,
    write_bundle,
    write_sparse,
)
from safetensors.torch import save_file
from torch import Tensor

from stillmotion.engine.components import Components, load_components
from stillmotion.engine.engine import Engine
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.official.header import read_header
from stillmotion.engine.official.networks import open_checkpoint
from stillmotion.engine.official.placement import Source
from stillmotion.engine.official.weights import WeightReader
from stillmotion.errors import BundleError
from stillmotion.job import Family, Job

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(bundles: Mapping[Family, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[Family, Path]:
    """Tiny bundles in diffusers' layout, with the published models' layers."""
    newer = with_published_vae(bundles["ltx-2.3"], tmp_path_factory.mktemp("folders") / "ltx-2.3")
    return {"ltx-2": bundles["ltx-2"], "ltx-2.3": newer}


@pytest.fixture
def official(folders: Mapping[Family, Path], family: Family, tmp_path: Path) -> Path:
    """The same with its networks in one file as published."""
    bundle = folders[family]
    return write_bundle(tmp_path / "bundle", bundle, tiny_tensors(bundle, family), tiny_config(bundle, family))


def hashed_tensors(bundle: Path, family: Family) -> dict[str, Tensor]:
    """The tiny file's names and shapes, the published types, and values that only each name gives."""
    listed = manifest(PUBLISHED[family])["tensors"]
    return {
        key: hashed(key, tuple(tensor.shape), DTYPES[listed.get(key, {"dtype": "BF16"})["dtype"]])
        for key, tensor in tiny_tensors(bundle, family).items()
    }


@pytest.fixture
def named(folders: Mapping[Family, Path], family: Family) -> dict[str, Tensor]:
    return hashed_tensors(folders[family], family)


def load(folder: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Components:
    return load_components(folder, load_manifest(folder), CPU, dtype, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_tensor_arrives_under_its_own_name(
    folders: Mapping[Family, Path], family: Family, named: dict[str, Tensor], dtype: torch.dtype, tmp_path: Path
) -> None:
    bundle = folders[family]
    components = load(write_bundle(tmp_path / "bundle", bundle, named, tiny_config(bundle, family)), dtype)
    arrived: dict[str, dict[str, Tensor]] = {name: getattr(components, name).state_dict() for name in COMPONENTS}
    for key, tensor in named.items():
        if key in DROPPED:
            continue
        component, name = translated(key)
        wanted = tensor.to(torch.float32 if component in ("audio_vae", "vocoder") else dtype)
        value = arrived[component].pop(name)
        assert value.dtype == wanted.dtype
        assert torch.equal(value, wanted), key
    assert not any(arrived.values())
    networks = [getattr(components, name) for name in COMPONENTS]
    assert not any(network.training for network in networks)
    assert not any(weight.requires_grad for network in networks for weight in network.parameters())


@pytest.mark.parametrize(
    ("component", "network"),
    [("transformer", LTX2VideoTransformer3DModel), ("vae", AutoencoderKLLTX2Video)],
)
def test_diffusers_own_conversion_agrees_where_it_works(
    folders: Mapping[Family, Path], component: str, network: Any, tmp_path: Path
) -> None:
    """It knows LTX-2's transformer and video VAE, and nothing of LTX-2.3."""
    bundle = folders["ltx-2"]
    tensors = hashed_tensors(bundle, "ltx-2")
    folder = write_bundle(tmp_path / "bundle", bundle, tensors, tiny_config(bundle, "ltx-2"))
    prefix = {"transformer": "model.diffusion_model.", "vae": "vae."}[component]
    save_file({key: value for key, value in tensors.items() if key.startswith(prefix)}, tmp_path / "part.safetensors")
    theirs = network.from_single_file(
        tmp_path / "part.safetensors",
        config=str(bundle),
        subfolder=component,
        local_files_only=True,
        torch_dtype=torch.float32,
    ).state_dict()
    ours = getattr(load(folder), component).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_configurations_are_those_of_the_folders(
    official: Path, folders: Mapping[Family, Path], family: Family
) -> None:
    pair = [load(folder) for folder in (official, folders[family])]
    for name in COMPONENTS:
        ours, theirs = (json.loads(getattr(components, name).to_json_string()) for components in pair)
        assert {key: value for key, value in ours.items() if key[0] != "_"} == {
            key: value for key, value in theirs.items() if key[0] != "_"
        }


def test_a_generation_is_the_same_from_either_layout(
    official: Path,
    folders: Mapping[Family, Path],
    family: Family,
    make_job: Callable[..., Job],
    picture: npt.NDArray[np.uint8],
) -> None:
    job, images = make_job(), {"image_url": picture}
    results = []
    for folder in (official, folders[family]):
        engine = Engine.load(folder, device="cpu")
        made = engine.generate(job, images, on_progress=lambda progress: None, should_stop=lambda: False)
        results.append((np.concatenate(list(made.frames)), made.audio, made.sample_rate))
    (frames, audio, rate), (other_frames, other_audio, other_rate) = results
    assert np.array_equal(frames, other_frames)
    assert audio is not None
    assert np.array_equal(audio, other_audio)
    assert rate == other_rate
    assert frames.std() > 1


def test_both_layouts_cut_ltx_2_3s_first_sound_off(folders: Mapping[Family, Path], tmp_path: Path) -> None:
    """As in training; the configurations of converted folders leave it out, and no tensor tells."""
    bundle = folders["ltx-2.3"]
    folder = write_bundle(tmp_path / "bundle", bundle, tiny_tensors(bundle, "ltx-2.3"), tiny_config(bundle, "ltx-2.3"))
    spectrum = 40 * torch.randn(1, 2, 8, 64, generator=torch.Generator().manual_seed(0))
    waves = [components.vocoder.vocoder(spectrum) for components in (load(folder), load(bundle))]
    untouched = LTX2VocoderWithBWE.from_pretrained(bundle / "vocoder").vocoder(spectrum)
    assert untouched.abs().max() > 1.5
    assert all(torch.equal(wave, untouched.clamp(-1, 1)) for wave in waves)


def test_the_filter_that_no_file_holds_is_computed(official: Path, loaded: Mapping[Family, Components]) -> None:
    vocoder = load(official).vocoder
    assert not any(tensor.is_meta for tensor in vocoder.buffers())
    if isinstance(vocoder, LTX2VocoderWithBWE):
        assert torch.equal(vocoder.resampler.filter, loaded["ltx-2.3"].vocoder.resampler.filter)


def test_progress_names_each_part_and_its_size(official: Path, folders: Mapping[Family, Path], family: Family) -> None:
    for folder in (official, folders[family]):
        told: list[str] = []
        load(folder, on_progress=told.append)
        upsamplers = load_manifest(folder).upsamplers.values()
        assert [text.split(",")[0] for text in told] == [*COMPONENTS, "text_encoder", *upsamplers]
        assert all(text.endswith(" GB") for text in told)


def quantised(tensors: Mapping[str, Tensor], block: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """``tensors`` with the linear layers of ``block`` in fp8, as published; and what those layers then hold."""
    result, wanted = dict(tensors), {}
    for key, tensor in tensors.items():
        if not key.startswith(block) or tensor.dim() != 2 or not key.endswith(".weight"):
            continue
        scale = tensor.float().abs().max() / 448
        result[key] = (tensor.float() / scale).to(torch.float8_e4m3fn)
        result[f"{key}_scale"] = scale
        result[f"{key.removesuffix('weight')}input_scale"] = torch.tensor(0.25)
        wanted[key] = result[key].float() * scale
    return result, wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fp8_files_are_scaled_back(
    folders: Mapping[Family, Path], family: Family, named: dict[str, Tensor], dtype: torch.dtype, tmp_path: Path
) -> None:
    bundle = folders[family]
    tensors, wanted = quantised(named, "model.diffusion_model.transformer_blocks.1.")
    assert len(wanted) == (34 if family == "ltx-2.3" else 28)
    components = load(write_bundle(tmp_path / "bundle", bundle, tensors, tiny_config(bundle, family)), dtype)
    state = components.transformer.state_dict()
    for key, tensor in named.items():
        if key.startswith("model.diffusion_model.transformer_blocks"):
            value = state[translated(key)[1]]
            assert torch.equal(value, wanted.get(key, tensor).to(dtype)), key


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_of_more_than_one_chunk_arrive_whole(stored: torch.dtype, dtype: torch.dtype, tmp_path: Path) -> None:
    """As the text projections do, whose 1.5 GB are read 16 MiB at a time."""
    values = torch.arange(17 * 2**20, dtype=torch.int32).remainder(251).sub(125).div(8).to(stored).view(17, 2**20)
    scale = torch.tensor(0.375)
    save_file({"first": torch.ones(3), "weight": values, "weight_scale": scale}, tmp_path / "file.safetensors")
    entries = read_header(tmp_path / "file.safetensors").tensors
    scaled = stored == torch.float8_e4m3fn
    source = Source("weight", entries["weight"], entries["weight_scale"] if scaled else None)
    with WeightReader(tmp_path / "file.safetensors", CPU) as reader:
        read = reader.read(source, dtype)
    assert torch.equal(read, (values.float() * (scale if scaled else 1)).to(dtype))


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file({"weight": torch.ones(1000)}, path)
    source = Source("weight", read_header(path).tensors["weight"])
    with WeightReader(path, CPU) as reader:
        os.truncate(path, 2000)
        with pytest.raises(BundleError, match="it became shorter while it was read"):
            reader.read(source, torch.float32)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read: No such file"), WeightReader(path, CPU):
        pass


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """This process may take ``more`` bytes of address space than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_the_file_is_neither_mapped_nor_held_twice(tmp_path: Path) -> None:
    """From a file of 46 GB, LTX-2.3's audio VAE: 106 MB in the file, 213 MB as fp32, within 250 MB."""
    path = write_sparse(PUBLISHED["ltx-2.3"], tmp_path / "file.safetensors")
    assert path.stat().st_size > 46e9
    audio_vae = open_checkpoint(path).networks["audio_vae"]
    with at_most(250_000_000):
        network = audio_vae.fill(CPU, torch.float32)
    weights = list(network.state_dict().values())
    assert sum(weight.nbytes for weight in weights) == 2 * audio_vae.size > 212e6
    assert not any(weight.any() for weight in weights)
