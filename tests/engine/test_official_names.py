"""Published names: every tensor of the full-size files has its place, and every configuration is the published one."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from official_layout import COMPONENTS, DROPPED, PUBLISHED, manifest, published_configs, translated, write_sparse

from stillmotion.engine.official.header import read_header
from stillmotion.engine.official.networks import Checkpoint, open_checkpoint
from stillmotion.engine.official.placement import generation, place_checkpoint
from stillmotion.engine.official.renames import CHECKPOINT, UnknownName, rename
from stillmotion.job import Family

GENERATION: dict[Family, str] = {"ltx-2": "2.0", "ltx-2.3": "2.3"}
COUNTS: dict[Family, dict[str, int]] = {
    "ltx-2": {"transformer": 3510, "connectors": 59, "vae": 184, "audio_vae": 102, "vocoder": 194},
    "ltx-2.3": {"transformer": 4186, "connectors": 262, "vae": 170, "audio_vae": 102, "vocoder": 1227},
}
# What the converted configurations have wrong: guidance without effect, and sound that is not cut off at [-1, 1].
CORRECTED = {("ltx-2", "transformer", "perturbed_attn"): True, ("ltx-2.3", "vocoder", "final_act_fn"): "clamp"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Family, Path]:
    folder = tmp_path_factory.mktemp("published")
    return {family: write_sparse(name, folder / f"{name}.safetensors") for family, name in PUBLISHED.items()}


@pytest.fixture(scope="module")
def checkpoints(files: Mapping[Family, Path]) -> Mapping[Family, Checkpoint]:
    return {family: open_checkpoint(path) for family, path in files.items()}


@pytest.fixture
def checkpoint(checkpoints: Mapping[Family, Checkpoint], family: Family) -> Checkpoint:
    return checkpoints[family]


def configured(checkpoint: Checkpoint) -> dict[str, Any]:
    """Class and arguments of each network."""
    return {
        component: {"_class_name": type(network.module).__name__}
        | {name: value for name, value in json.loads(network.module.to_json_string()).items() if name[0] != "_"}
        for component, network in checkpoint.networks.items()
    }


def expected(family: Family) -> dict[str, Any]:
    configs = {component: dict(published_configs()[GENERATION[family]][component]) for component in COMPONENTS}
    for (generation_, component, name), value in CORRECTED.items():
        if generation_ == family:
            configs[component][name] = value
    return configs


def test_the_full_size_file_places_every_tensor(checkpoint: Checkpoint, family: Family) -> None:
    """Opening checks both ways: nothing missing, nothing left, all shapes agree with diffusers' own networks."""
    assert checkpoint.family == family
    assert {component: len(network.placement) for component, network in checkpoint.networks.items()} == COUNTS[family]
    placed = {source.key for network in checkpoint.networks.values() for source in network.placement.values()}
    tensors = manifest(PUBLISHED[family])["tensors"]
    assert tensors.keys() - placed == (DROPPED if family == "ltx-2" else set())
    for component, network in checkpoint.networks.items():
        state = network.module.state_dict()
        assert state.keys() == network.placement.keys()
        for name, source in network.placement.items():
            assert translated(source.key) == (component, name)
            assert list(state[name].shape) == tensors[source.key]["shape"], source.key
            assert state[name].is_meta


def test_configurations_are_the_published_ones(checkpoint: Checkpoint, family: Family) -> None:
    assert configured(checkpoint) == expected(family)


def test_without_metadata_the_shapes_tell_the_same(family: Family, tmp_path: Path) -> None:
    path = write_sparse(PUBLISHED[family], tmp_path / "bare.safetensors", metadata=False)
    assert configured(open_checkpoint(path)) == expected(family)


def test_padding_is_what_the_metadata_say(checkpoint: Checkpoint, family: Family) -> None:
    """No shape tells it, and the wrong one decodes to something plausible."""
    config = checkpoint.networks["vae"].module.config
    modes = config.encoder_spatial_padding_mode, config.decoder_spatial_padding_mode
    assert modes == (("zeros", "reflect") if family == "ltx-2" else ("zeros", "zeros"))
    assert set(config.upsample_residual) == {family == "ltx-2"}


def test_the_table_agrees_with_the_regular_expressions(family: Family) -> None:
    for key in manifest(PUBLISHED[family])["tensors"]:
        new = rename(CHECKPOINT, key)
        assert new == (None if key in DROPPED else ".".join(translated(key)))


def test_the_header_alone_tells_generation_and_places(files: Mapping[Family, Path], family: Family) -> None:
    header = read_header(files[family])
    assert generation(header) == family
    assert {component: len(sources) for component, sources in place_checkpoint(header).items()} == COUNTS[family]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "vae",
        "vae.encoder",
        "vae.encoder.conv_in.conv.weight.more",
        "vae.vae.encoder.conv_in.conv.weight",
        "vocoder.vocoder.vocoder.conv_pre.weight",
        "model.model.diffusion_model.patchify_proj.weight",
        "diffusion_model.patchify_proj.weight",
        "model.diffusion_model.xadaln_single.linear.weight",
        "model.diffusion_model.transformer_blocks.x.scale_shift_table",
        "model.diffusion_model.transformer_blocks.01.scale_shift_table",
        "model.diffusion_model.transformer_blocks.\u0661.scale_shift_table",
        "model.diffusion_model.transformer_blocks.-1.scale_shift_table",
        "vae.encoder.down_blocks.9.conv.conv.weight",
        "audio_vae.per_channel_statistics.channel",
        "model.diffusion_model.transformer_blocks.N..scale_shift_table",
        "model.diffusion_model.transformer_blocks.N.scale_shift_table",
    ],
)
def test_names_are_matched_whole_and_in_their_place(key: str) -> None:
    with pytest.raises(UnknownName):
        rename(CHECKPOINT, key)


def test_headers_are_understood_without_torch() -> None:
    script = (
        "import sys, stillmotion.engine.official.verify; "
        "assert not {'torch', 'diffusers', 'transformers', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
