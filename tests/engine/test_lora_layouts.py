"""Every layout of a LoRA file means the same change, and what does not fit is refused by name."""

import copy
import gzip
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lora_files import LAYOUTS, Changes, Layer, linear_layers, published, random_changes, write, write_sparse
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stillmotion.engine.lora.adapters import Adapters
from stillmotion.engine.lora.match import LoraFile, match
from stillmotion.engine.lora.names import Targets
from stillmotion.engine.lora.tensorfile import TensorFile
from stillmotion.errors import EngineError
from stillmotion.job import Family

MANIFESTS = Path(__file__).parent / "manifests"
NETWORKS = {"transformer": LTX2VideoTransformer3DModel, "connectors": LTX2TextConnectors}
FAMILIES: tuple[Family, ...] = ("ltx-2", "ltx-2.3")

Networks = Mapping[str, Any]


@pytest.fixture(scope="module")
def tiny(bundles: Mapping[Family, Path]) -> Mapping[Family, Networks]:
    return {
        family: {name: network.from_pretrained(bundles[family] / name).eval() for name, network in NETWORKS.items()}
        for family in FAMILIES
    }


@pytest.fixture(scope="module")
def full() -> Mapping[Family, Networks]:
    """Both generations at full size, without memory for their weights."""
    configs = json.loads((MANIFESTS / "CONFIGS.json").read_text())
    built: dict[Family, Networks] = {}
    with torch.device("meta"):
        for family, version in (("ltx-2", "2.0"), ("ltx-2.3", "2.3")):
            built[family] = {
                name: network(**{key: value for key, value in configs[version][name].items() if key[0] != "_"})
                for name, network in NETWORKS.items()
            }
    return built


def weights(networks: Networks) -> dict[Layer, Tensor]:
    return {key: layer.weight.detach() for key, layer in linear_layers(networks).items()}


def merged(networks: Networks, path: Path, scale: float) -> dict[Layer, Tensor]:
    networks = {name: copy.deepcopy(network) for name, network in networks.items()}
    Adapters(**networks).use([(path, scale)])
    return weights(networks)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_layout_merges_to_the_same_weights(
    tiny: Mapping[Family, Networks], family: Family, data: st.DataObject
) -> None:
    networks = tiny[family]
    layers = linear_layers(networks)
    chosen = data.draw(st.lists(st.sampled_from(sorted(layers)), min_size=1, max_size=40, unique=True))
    rank = data.draw(st.sampled_from((1, 4, 16)))
    # A power of two over the rank, so that the layouts without an alpha can have it folded in exactly.
    changes = random_changes(layers, chosen, seed=data.draw(st.integers(0, 99)), rank=rank, alpha=None)
    ratio = data.draw(st.sampled_from((0.25, 1, 2)))
    changes = {key: type(change)(change.down, change.up, change.rank * ratio) for key, change in changes.items()}
    scale = data.draw(st.sampled_from((-0.5, 0.2, 1.0)))
    before = weights(networks)
    changed = {name: copy.deepcopy(network) for name, network in networks.items()}
    adapters, results = Adapters(**changed), {}
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, layout) in enumerate(LAYOUTS.items()):
            adapters.use([(write(Path(folder) / f"{index}.safetensors", layout(changes)), scale)])
            results[name] = {key: weight.clone() for key, weight in weights(changed).items()}
    first = next(iter(results.values()))
    for key, weight in before.items():
        if key in changes:
            expected = weight.double() + changes[key].added(scale)
            torch.testing.assert_close(first[key].double(), expected, rtol=1e-6, atol=1e-6)
            assert not torch.equal(first[key], weight)
        else:
            assert torch.equal(first[key], weight)
    for name, result in results.items():
        for key in changes:
            torch.testing.assert_close(result[key], first[key], rtol=0, atol=2e-6, msg=f"{name}: {key}")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_factors_of_every_type(tiny: Mapping[Family, Networks], tmp_path: Path, dtype: torch.dtype) -> None:
    networks = tiny["ltx-2.3"]
    layers = linear_layers(networks)
    changes = random_changes(layers, sorted(layers)[::9], seed=1, dtype=dtype)
    result = merged(networks, write(tmp_path / "a.safetensors", LAYOUTS["diffusers"](changes)), 0.5)
    for key, change in changes.items():
        expected = layers[key].weight.detach().double() + change.added(0.5)
        torch.testing.assert_close(result[key].double(), expected, rtol=1e-6, atol=1e-6)


def to_q(number: int) -> Layer:
    return "transformer", f"transformer_blocks.{number}.attn1.to_q"


def peft(**options: Any) -> dict[str, str]:
    return {"lora_adapter_metadata": json.dumps({f"transformer.{name}": value for name, value in options.items()})}


@pytest.mark.parametrize(
    ("metadata", "factors"),
    [
        ({}, (1, 1)),
        ({"alpha": "8"}, (2, 2)),
        ({"lora_alpha": "2"}, (0.5, 0.5)),
        ({"license": "any", "ss_network_alpha": "99"}, (1, 1)),
        (peft(lora_alpha=8, r=4), (2, 2)),
        (peft(lora_alpha=8, alpha_pattern={"transformer_blocks.1.attn1.to_q": 12}), (2, 3)),
        (peft(lora_alpha=8, alpha_pattern={"1.attn1.to_q": 12, "blocks.0.attn1.to_q": 4}), (2, 3)),
        (peft(lora_alpha=8, use_rslora=True), (4, 4)),
        ({"peft_config": json.dumps({"lora_alpha": 1})}, (0.25, 0.25)),
    ],
)
def test_alpha_in_the_metadata(
    tiny: Mapping[Family, Networks], tmp_path: Path, metadata: dict[str, str], factors: tuple[float, float]
) -> None:
    networks = tiny["ltx-2"]
    layers = linear_layers(networks)
    changes = random_changes(layers, [to_q(0), to_q(1)], seed=3)
    result = merged(networks, write(tmp_path / "a.safetensors", LAYOUTS["diffusers"](changes), metadata), 1.0)
    for number, factor in enumerate(factors):
        expected = layers[to_q(number)].weight.detach().double() + changes[to_q(number)].added(factor)
        torch.testing.assert_close(result[to_q(number)].double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"alpha": "much"}, "alpha in its metadata is not a number"),
        ({"lora_alpha": "0"}, "lora_alpha in its metadata is not a positive number"),
        ({"lora_alpha": "nan"}, "lora_alpha in its metadata is not a positive number"),
        (peft(lora_alpha=[8]), "lora_alpha in its metadata is not a number"),
        (peft(alpha_pattern={r"(a+)+\.to_q": 8}), "alpha_pattern in its metadata has more than layers' paths"),
        (peft(use_dora=True), "its metadata says that it is DoRA"),
        ({"lora_adapter_metadata": "{"}, "lora_adapter_metadata in its metadata is not JSON"),
        ({"peft_config": "[]"}, "peft_config in its metadata is not a table"),
    ],
)
def test_metadata_that_cannot_be_followed_is_refused(
    tiny: Mapping[Family, Networks], tmp_path: Path, metadata: dict[str, str], reason: str
) -> None:
    changes = random_changes(linear_layers(tiny["ltx-2"]), [to_q(0)], seed=3)
    path = write(tmp_path / "a.safetensors", LAYOUTS["diffusers"](changes), metadata)
    with pytest.raises(EngineError, match=reason):
        merged(tiny["ltx-2"], path, 1.0)


# --- the published files -----------------------------------------------------------------------------------------


def manifest(name: str) -> dict[str, Any]:
    tensors: dict[str, Any] = json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))["tensors"]
    return tensors


@pytest.mark.parametrize(
    ("name", "family", "layers"),
    [
        ("ltx-2-19b-distilled-lora-384", "ltx-2", 1371),
        ("ltx-2.3-22b-distilled-lora-384", "ltx-2.3", 1660),
        ("ltx-2-19b-camera-lora-dolly-in", "ltx-2", 480),
        ("ltx-2-19b-camera-lora-jib-up", "ltx-2", 1248),
        ("ltx-2-19b-camera-lora-dolly-in", "ltx-2.3", 480),
        ("ltx-2-19b-camera-lora-jib-up", "ltx-2.3", 1248),
    ],
)
def test_published_files_fit_the_full_networks(
    full: Mapping[Family, Networks], tmp_path: Path, name: str, family: Family, layers: int
) -> None:
    path = write_sparse(tmp_path / "a.safetensors", manifest(name))
    found = match(TensorFile(path), Targets(**full[family]))
    assert found.faults == []
    assert len(found.pairs) == layers
    assert {pair.factor for pair in found.pairs.values()} == {1.0}
    spelt = {published((target.network, target.name)) for target in found.pairs}
    keys = {key.rpartition(".lora_")[0].removeprefix("diffusion_model.") for key in manifest(name)}
    assert spelt == keys


@pytest.mark.parametrize(
    ("name", "family", "origin", "sizes"),
    [
        ("ltx-2-19b-distilled-lora-384", "ltx-2.3", "LTX-2 19B", (24576, 36864)),
        ("ltx-2.3-22b-distilled-lora-384", "ltx-2", "LTX-2.3", (36864, 24576)),
    ],
)
def test_the_other_generations_distilled_lora_is_refused(
    full: Mapping[Family, Networks], tmp_path: Path, name: str, family: Family, origin: str, sizes: tuple[int, int]
) -> None:
    path = write_sparse(tmp_path / "a.safetensors", manifest(name))
    with pytest.raises(EngineError) as error:
        LoraFile(path, Targets(**full[family]))
    assert error.value.message.endswith(f"It seems to be made for {origin}")
    assert f"time_embed.linear expects {sizes[0]} outputs, this model's has {sizes[1]}; " in error.value.message


def test_a_full_size_file_does_not_fit_a_tiny_network(tiny: Mapping[Family, Networks], tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "big.safetensors", manifest("ltx-2-19b-camera-lora-dolly-in"))
    with pytest.raises(EngineError) as error:
        LoraFile(path, Targets(**tiny["ltx-2"]))
    message = error.value.message
    assert message.startswith(
        "big.safetensors fits nothing in this model: transformer_blocks.0.attn1.to_k expects 4096"
    )
    assert "inputs, this model's has 64; " in message
    # 30 layers are in blocks that the tiny network has; of the 45 other blocks each of the 900 keys is unknown.
    assert "; and 925 more" in message


# --- files that do not fit ---------------------------------------------------------------------------------------


def one_layer(networks: Networks) -> dict[str, Tensor]:
    return LAYOUTS["official"](random_changes(linear_layers(networks), [to_q(0)], seed=5))


KEY = "diffusion_model.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (f"{KEY}.dora_scale", "DoRA"),
        (f"{KEY}.lora_magnitude_vector.default.weight", "DoRA"),
        (f"{KEY}.lora_magnitude_vector", "DoRA"),
        (f"{KEY}.diff", "a difference of full weights"),
        (f"{KEY}.diff_b", "a difference of biases"),
        (f"{KEY}.lora_mid.weight", "LoCon with a middle factor"),
        (f"{KEY}.hada_w1_a", "LoHa"),
        (f"{KEY}.lokr_w1", "LoKr"),
        (f"{KEY}.lora_B.bias", "a LoRA with biases"),
        (f"{KEY}.lora_B.default.bias", "a LoRA with biases"),
    ],
)
def test_other_methods_are_refused_by_name(
    tiny: Mapping[Family, Networks], tmp_path: Path, key: str, reason: str
) -> None:
    tensors = one_layer(tiny["ltx-2"]) | {key: torch.zeros(64)}
    path = write(tmp_path / "other.safetensors", tensors)
    with pytest.raises(EngineError) as error:
        merged(tiny["ltx-2"], path, 1.0)
    assert error.value.message == f"other.safetensors fits 1 layers of this model, but not all: {key} ({reason})"


Tensors = dict[str, Tensor]


def renamed(tensors: Tensors, old: str, new: str) -> Tensors:
    return {key.replace(old, new): tensor for key, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"stranger.weight": torch.zeros(1)}, "stranger.weight"),
        (lambda t: t | {f"{KEY}.weight": torch.zeros(64, 64)}, f"{KEY}.weight"),
        (lambda t: t | {f"{KEY}.alpha": torch.zeros(2)}, "has an alpha that is not one number"),
        (lambda t: t | {f"{KEY}.alpha": torch.tensor(-4.0)}, "has an alpha of -4.0"),
        (lambda t: t | {f"{KEY}.alpha": torch.tensor(float("nan"))}, "has an alpha of nan"),
        (lambda t: t | {"diffusion_model.proj_out.alpha": torch.ones(1)}, "proj_out has no lora_A"),
        (lambda t: {key: tensor for key, tensor in t.items() if "lora_A" in key}, "attn1.to_q has no lora_B"),
        (lambda t: {key: tensor for key, tensor in t.items() if "lora_B" in key}, "attn1.to_q has no lora_A"),
        (lambda t: t | renamed(t, "diffusion_model", "transformer"), f"and {KEY}.lora_A.weight are both for"),
        (lambda t: t | {f"{KEY}.lora_A.weight": torch.zeros(4, 32)}, "to_q expects 32 inputs, this model's has 64"),
        (lambda t: t | {f"{KEY}.lora_B.weight": torch.zeros(32, 4)}, "to_q expects 32 outputs, this model's has 64"),
        (lambda t: t | {f"{KEY}.lora_A.weight": torch.zeros(2, 64)}, "to_q has factors of ranks 2 and 4"),
        (lambda t: t | {f"{KEY}.lora_A.weight": torch.zeros(4, 64, 1, 1)}, "to_q has factors of 4 and 2 dimensions"),
        (lambda t: {key: tensor[:0].reshape(0, 64) if "A" in key else tensor[:, :0] for key, tensor in t.items()},
         "to_q has factors of ranks 0 and 0"),
        (lambda t: renamed(t, "attn1", "attn9"), "fits nothing in this model: diffusion_model.transformer_blocks.0"),
        (lambda t: renamed(t, ".0.", ".48."), "fits nothing in this model"),
        (lambda t: renamed(t, "transformer_blocks", "single_transformer_blocks"), "made for FLUX or HunyuanVideo"),
        (lambda t: renamed(t, KEY, "lora_unet_single_blocks_7_linear1"), "made for FLUX or HunyuanVideo"),
        (lambda t: renamed(t, KEY, "diffusion_model.blocks.0.self_attn.q"), "made for Wan"),
        (lambda t: renamed(t, KEY, "lora_te1_text_model_encoder_layers_0_mlp_fc1"), "made for a text encoder"),
        # Parts of elements are no elements.
        (lambda t: renamed(t, "to_q", "to_q_proj"), "fits nothing in this model"),
        (lambda t: renamed(t, "diffusion_model.", "my_diffusion_model."), "fits nothing in this model"),
        (lambda t: {"a.weight": torch.zeros(1), "b.bias": torch.zeros(1)}, "is not a LoRA: a.weight; b.bias"),
        (lambda t: {}, "is empty"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(
    tiny: Mapping[Family, Networks], tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    path = tmp_path / "wrong.safetensors"
    save_file({key: tensor.clone() for key, tensor in change(one_layer(tiny["ltx-2"])).items()}, path)
    with pytest.raises(EngineError) as error:
        merged(tiny["ltx-2"], path, 1.0)
    assert error.value.message.startswith("wrong.safetensors ")
    assert message in error.value.message
    assert str(tmp_path) not in error.value.message


def test_the_metadata_tell_what_a_stranger_was_made_for(tiny: Mapping[Family, Networks], tmp_path: Path) -> None:
    tensors = renamed(one_layer(tiny["ltx-2"]), "attn1", "attn9")
    path = write(tmp_path / "a.safetensors", tensors, {"modelspec.architecture": "flux-1-dev/lora\n"})
    with pytest.raises(EngineError, match=r"made for flux-1-dev/lora\?$"):
        merged(tiny["ltx-2"], path, 1.0)


def test_a_message_names_five_keys(tiny: Mapping[Family, Networks], tmp_path: Path) -> None:
    tensors = {f"stranger{index}{'x' * 500}": torch.zeros(1) for index in range(7)} | one_layer(tiny["ltx-2"])
    with pytest.raises(EngineError, match=r"; and 2 more$") as error:
        merged(tiny["ltx-2"], write(tmp_path / "a.safetensors", tensors), 1.0)
    assert error.value.message.count("stranger") == 5
    assert len(error.value.message) < 1000


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_has_names_of_its_own(full: Mapping[Family, Networks], family: Family) -> None:
    targets, layers = Targets(**full[family]), linear_layers(full[family])
    assert len(targets) == len(layers)
    for key in layers:
        flat = published(key).replace(".", "_"), key[1].replace(".", "_")
        for path in (published(key), key[1], *(f"lora_unet_{name}" for name in flat)):
            found = targets.find(path)
            assert found is not None
            assert (found.network, found.name) == key


def test_one_name_is_one_layer() -> None:
    ambiguous = nn.ModuleDict(
        {"a": nn.ModuleDict({"b_c": nn.Linear(2, 2)}), "a_b": nn.ModuleDict({"c": nn.Linear(2, 2)})}
    )
    with pytest.raises(ValueError, match="a_b_c would mean both"):
        Targets(ambiguous, nn.Module())
    tied = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    tied["b"].weight = tied["a"].weight
    with pytest.raises(ValueError, match="share a weight"):
        Targets(tied, nn.Module())


def test_wrapped_networks_keep_their_names(tiny: Mapping[Family, Networks], tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

    networks = {name: copy.deepcopy(network) for name, network in tiny["ltx-2"].items()}
    path = write(tmp_path / "a.safetensors", one_layer(networks))
    expected = merged(networks, path, 1.0)[to_q(0)]
    plain = networks["transformer"].transformer_blocks[0]
    networks["transformer"].transformer_blocks[0] = Wrapped(plain)
    Adapters(**networks).use([(path, 1.0)])
    assert torch.equal(plain.attn1.to_q.weight, expected)


def test_the_files_reader_agrees_with_the_formats_own(tiny: Mapping[Family, Networks], tmp_path: Path) -> None:
    layers = linear_layers(tiny["ltx-2"])
    changes: Changes = random_changes(layers, sorted(layers), seed=9, dtype=torch.bfloat16)
    path = write(tmp_path / "a.safetensors", LAYOUTS["kohya"](changes), {"license": "x"})
    file, theirs = TensorFile(path), load_file(path)
    assert file.metadata == {"license": "x"}
    assert file.entries.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert torch.equal(file.read(key), tensor)
        assert file.read(key).dtype == tensor.dtype
