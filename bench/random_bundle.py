"""A bundle of random weights, made where they are to compute: the full models in seconds and without their 70 GB.

The networks are diffusers' and transformers' own classes in the published shapes, with the weights that their
constructors draw, so every activation is finite and none is zero. Numbers that depend on the picture (which steps a
block cache may skip) mean nothing with them; times and memory do not depend on values.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import AutoencoderKLLTX2Audio
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

from bench import ROOT
from bench.floor import STG_BLOCK
from stillmotion.engine.causal_convolution import keep_channels_last
from stillmotion.engine.components import Components
from stillmotion.engine.lora.names import published
from stillmotion.engine.manifest import Licence, Manifest, load_manifest
from stillmotion.engine.tiny import build_tiny_bundle
from stillmotion.job import Family, Upsampling

Scale = Literal["full", "tiny"]
"""The published shapes; or those of ``engine/tiny.py``, on which the harness itself can be tried."""

UPSAMPLERS: tuple[Upsampling, ...] = ("spatial_x2", "temporal_x2")
LORA_RANK: Mapping[Scale, int] = {"full": 384, "tiny": 8}
"""Of the distilled LoRA; 384 is the published one's, 7.6 GB."""

_TRANSFORMERS = ROOT / "bench/full_size.json"
_OTHERS = ROOT / "bench/random_bundle.json"
"""Family to the constructors' arguments, as published."""
_VOCODERS = {network.__name__: network for network in (LTX2Vocoder, LTX2VocoderWithBWE)}
_CLASSES = {
    "transformer": LTX2VideoTransformer3DModel,
    "vae": AutoencoderKLLTX2Video,
    "audio_vae": AutoencoderKLLTX2Audio,
    "connectors": LTX2TextConnectors,
    **dict.fromkeys(UPSAMPLERS, LTX2LatentUpsamplerModel),
}
_ALWAYS_FP32 = ("audio_vae", "vocoder")  # as when a bundle is loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What ``Engine`` is made of."""

    folder: Path
    manifest: Manifest
    components: Components


def build(
    folder: Path, scale: Scale, family: Family, device: torch.device, dtype: torch.dtype, *, seed: int = 0
) -> Bundle:
    """Networks on ``device``, and in ``folder`` the tokenizer and the distilled LoRA's file.

    The same ``seed`` gives the same weights on the same device. The global random state is left alone.
    """
    tiny = folder / f"tiny-{family}"
    if not tiny.exists():
        build_tiny_bundle(tiny, family, seed=seed)
    configurations = full_configurations(family) if scale == "full" else _tiny(tiny)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        networks = {
            name: make_network(name, config, device, torch.float32 if name in _ALWAYS_FP32 else dtype)
            for name, config in configurations.items()
        }
        lora = folder / f"distilled-{scale}-{family}.safetensors"
        if not lora.exists():
            _write_lora(lora, networks["transformer"], networks["connectors"], LORA_RANK[scale])
    if device.type == "cuda":  # as when a bundle is loaded
        keep_channels_last(networks["vae"])
    components = Components(
        upsamplers={kind: networks.pop(kind) for kind in UPSAMPLERS},
        tokenizer=AutoTokenizer.from_pretrained(tiny / "tokenizer", local_files_only=True),
        device=device,
        **networks,
    )
    return Bundle(folder=folder, manifest=_manifest(scale, family, load_manifest(tiny), lora), components=components)


def _manifest(scale: Scale, family: Family, tiny: Manifest, lora: Path) -> Manifest:
    return Manifest(
        name=f"random-{scale}-{family}",
        family=family,
        stg_block=STG_BLOCK[family] if scale == "full" else tiny.stg_block,
        max_sequence_length=1024 if scale == "full" else tiny.max_sequence_length,
        licence=Licence(name="CC0-1.0", url="https://creativecommons.org/publicdomain/zero/1.0/"),
        negative_prompt=tiny.negative_prompt,
        upsamplers={kind: kind for kind in UPSAMPLERS},
        loras={"distilled": lora.name},
    )


def full_configurations(family: Family) -> dict[str, dict[str, Any]]:
    """The constructors' arguments of every network, as published."""
    # LTX-2's own configuration leaves perturbed attention out, as when a bundle is loaded.
    transformer = json.loads(_TRANSFORMERS.read_text())[family] | {"perturbed_attn": True}
    return {"transformer": transformer, **json.loads(_OTHERS.read_text())[family]}


def _tiny(folder: Path) -> dict[str, dict[str, Any]]:
    """The configurations of a bundle's folder."""
    parts = {str(kind): name for kind, name in load_manifest(folder).upsamplers.items()}
    found: dict[str, dict[str, Any]] = {}
    for name in ("transformer", "connectors", "vae", "audio_vae", "vocoder", "text_encoder", *UPSAMPLERS):
        data = json.loads((folder / parts.get(name, name) / "config.json").read_text())
        if name == "text_encoder":
            found[name] = Gemma3Config.from_pretrained(folder / name).to_dict()
            continue
        kept = "_class_name" if name == "vocoder" else None
        found[name] = {key: value for key, value in data.items() if not key.startswith("_") or key == kept}
    found["transformer"]["perturbed_attn"] = True
    return found


def make_network(name: str, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    # The rational upsampler's constructor multiplies whole numbers, which CUDA cannot.
    place = torch.device("cpu") if name in UPSAMPLERS else device
    with place, _default(dtype):
        if name == "text_encoder":
            network = Gemma3ForConditionalGeneration(Gemma3Config(**config))
        elif name == "vocoder":
            network = _VOCODERS[config["_class_name"]](**{key: config[key] for key in config if key != "_class_name"})
        else:
            network = _CLASSES[name](**config)
    if name != "text_encoder":  # whose rotary frequencies stay fp32
        nn.Module.to(network, dtype=dtype)  # some constructors compute in fp32 whatever the default is
    return network.to(device).eval().requires_grad_(False)


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _write_lora(path: Path, transformer: nn.Module, connectors: nn.Module, rank: int) -> None:
    """A LoRA on the layers that the published distilled one changes, in its layout."""
    tensors: dict[str, Tensor] = {}
    for name, layer in transformer.named_modules():
        if isinstance(layer, nn.Linear):
            tensors |= _factors(f"diffusion_model.{published('transformer', name)}", layer, rank)
    if projection := getattr(connectors, "text_proj_in", None):
        tensors |= _factors(published("connectors", "text_proj_in"), projection, rank)
    save_file(tensors, path)


def _factors(path: str, layer: nn.Linear, rank: int) -> dict[str, Tensor]:
    """Products of a standard deviation a hundredth of the layer's own, so that merged weights are like the others."""
    rank = min(rank, layer.in_features, layer.out_features)
    device, inputs = layer.weight.device, layer.in_features
    down = torch.randn(rank, inputs, device=device) / math.sqrt(inputs)
    up = torch.randn(layer.out_features, rank, device=device) * 0.01 / math.sqrt(rank)
    return {
        f"{path}.lora_A.weight": down.to(torch.bfloat16).cpu(),
        f"{path}.lora_B.weight": up.to(torch.bfloat16).cpu(),
    }
