"""The networks of a bundle, loaded and checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import AutoencoderKLLTX2Audio
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

from stillmotion.engine.manifest import Manifest
from stillmotion.engine.quiet import without_progress_bars
from stillmotion.errors import BundleError
from stillmotion.job import Upsampling

_VOCODERS = {network.__name__: network for network in (LTX2Vocoder, LTX2VocoderWithBWE)}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The networks on their device, in evaluation mode; instances of diffusers' and transformers' untyped classes."""

    transformer: Any
    vae: Any
    audio_vae: Any
    vocoder: Any
    connectors: Any
    text_encoder: Any
    tokenizer: Any
    upsamplers: Mapping[Upsampling, Any]
    device: torch.device


def choose_device(name: str) -> torch.device:
    """``auto``: the first of CUDA, MPS, CPU that this machine has."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """``float32``, ``bfloat16``, or ``auto``: what the weights were trained in where it is fast (CUDA), else fp32.

    On a CPU without bf16 instructions bf16 is about 15 times slower than fp32.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise ValueError(f"dtype must be auto, {' or '.join(_DTYPES)}, not {name!r}")
    return _DTYPES[name]


def load_components(folder: Path, manifest: Manifest, device: torch.device, dtype: torch.dtype) -> Components:
    """Loads every component of the bundle, from ``folder`` alone. Raises BundleError that names the one at fault."""
    components = Components(
        # LTX-2's own configuration leaves perturbed attention out, which turns spatio-temporal guidance into a
        # silent no-op; it adds no weights.
        transformer=_load(LTX2VideoTransformer3DModel, folder / "transformer", device, dtype, perturbed_attn=True),
        vae=_load(AutoencoderKLLTX2Video, folder / "vae", device, dtype),
        # Sound is cheap to compute and its short spectra are sensitive to rounding: always fp32.
        audio_vae=_load(AutoencoderKLLTX2Audio, folder / "audio_vae", device, torch.float32),
        vocoder=_load(_vocoder(folder / "vocoder"), folder / "vocoder", device, torch.float32),
        connectors=_load(LTX2TextConnectors, folder / "connectors", device, dtype),
        text_encoder=_load(Gemma3ForConditionalGeneration, folder / "text_encoder", device, dtype),
        tokenizer=_tokenizer(folder / "tokenizer"),
        upsamplers={
            kind: _load(LTX2LatentUpsamplerModel, folder / name, device, dtype)
            for kind, name in manifest.upsamplers.items()
        },
        device=device,
    )
    _check(components, manifest)
    if device.type == "cuda":
        # In the default layout cuDNN lacks fast 3D kernels; decoding is reported 1.6 times slower in it on an H100.
        components.vae.to(memory_format=torch.channels_last_3d)
    return components


def _load(network: Any, folder: Path, device: torch.device, dtype: torch.dtype, **overrides: Any) -> Any:
    try:
        with without_progress_bars():
            model, report = network.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True, **overrides
            )
    except Exception as error:  # two libraries' loaders raise whatever they like; each means the same to us
        raise BundleError(f"{folder} cannot be loaded: {error}") from error
    # Weights that are absent would be left random, without an error.
    missing = sorted(report["missing_keys"])
    if missing:
        raise BundleError(f"{folder} lacks {len(missing)} weights, {missing[0]} among them")
    return model.to(device).eval().requires_grad_(False)


def _vocoder(folder: Path) -> Any:
    try:
        name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
        return _VOCODERS[name]
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{folder}/config.json names no vocoder among {', '.join(_VOCODERS)}: {error}") from error


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as in _load
        raise BundleError(f"{folder} cannot be loaded: {error}") from error


def _check(components: Components, manifest: Manifest) -> None:
    """That the manifest tells the truth about the networks where a wrong word would go unnoticed."""
    transformer, connectors = components.transformer.config, components.connectors.config
    family = "ltx-2.3" if transformer.cross_attn_mod else "ltx-2"
    if family != manifest.family:
        raise BundleError(f"{manifest.name} says it is of family {manifest.family}, but its transformer is {family}")
    if manifest.stg_block >= transformer.num_layers:
        raise BundleError(f"{manifest.name}: stg_block {manifest.stg_block} of {transformer.num_layers} blocks")
    model = manifest.model()
    ratios = components.vae.spatial_compression_ratio, components.vae.temporal_compression_ratio
    if ratios != (model.spatial_multiple, model.temporal_multiple):
        raise BundleError(f"{manifest.name}: the VAE compresses {ratios}, not by the model's multiples")
    for registers in (
        connectors.video_connector_num_learnable_registers,
        connectors.audio_connector_num_learnable_registers,
    ):
        # Without registers padding would need an attention mask; see text.encode.
        if not registers or manifest.max_sequence_length % registers:
            raise BundleError(
                f"{manifest.name}: max_sequence_length {manifest.max_sequence_length} is no multiple of the "
                f"connectors' {registers} registers"
            )
