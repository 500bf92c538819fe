"""The networks of a bundle, loaded and checked."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import AutoencoderKLLTX2Audio
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

from stillmotion.engine.causal_convolution import keep_channels_last
from stillmotion.engine.manifest import COMPONENTS, Manifest
from stillmotion.engine.official.networks import Checkpoint, Unfilled, open_checkpoint, open_upsampler
from stillmotion.engine.official.upsampler_config import check_kind
from stillmotion.engine.quiet import without_progress_bars
from stillmotion.errors import BundleError
from stillmotion.job import Upsampling

_NETWORKS = {
    "transformer": LTX2VideoTransformer3DModel,
    "vae": AutoencoderKLLTX2Video,
    "audio_vae": AutoencoderKLLTX2Audio,
    "connectors": LTX2TextConnectors,
}
_VOCODERS = {network.__name__: network for network in (LTX2Vocoder, LTX2VocoderWithBWE)}
# LTX-2's own configuration leaves perturbed attention out, which turns spatio-temporal guidance into a silent no-op; it
# adds no weights.
_OVERRIDES: Mapping[str, Mapping[str, Any]] = {"transformer": {"perturbed_attn": True}}
# Sound is cheap to compute and its short spectra are sensitive to rounding: always fp32.
_ALWAYS_FP32 = ("audio_vae", "vocoder")
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


def load_components(
    folder: Path,
    manifest: Manifest,
    device: torch.device,
    dtype: torch.dtype,
    *,
    on_progress: Callable[[str], None] | None = None,
) -> Components:
    """Loads every component of the bundle, from ``folder`` alone.

    ``on_progress`` is told each part as its loading begins ("transformer, 38.0 GB"); a whole model takes a minute.
    Raises BundleError that names the part at fault; what a published file's header tells, before any of it is read.
    """
    tell = on_progress or _unheard
    text_features = _text_features(folder / "text_encoder")
    checkpoint = None if manifest.checkpoint is None else open_checkpoint(folder / manifest.checkpoint)
    if checkpoint is not None:
        _check({name: network.module for name, network in checkpoint.networks.items()}, manifest, text_features)
    # Opened before the first network is read, so that a wrong file is told at once.
    upsamplers: dict[Upsampling, Unfilled | Path] = {
        kind: open_upsampler(folder / name, kind) if name.endswith(".safetensors") else folder / name
        for kind, name in manifest.upsamplers.items()
    }
    networks = {
        name: _network(folder, name, checkpoint, device, torch.float32 if name in _ALWAYS_FP32 else dtype, tell)
        for name in COMPONENTS
    }
    if checkpoint is None:
        _check(networks, manifest, text_features)
    components = Components(
        **networks,
        text_encoder=_load(Gemma3ForConditionalGeneration, folder / "text_encoder", device, dtype, tell),
        tokenizer=_tokenizer(folder / "tokenizer"),
        upsamplers={
            kind: _upsampler(part, kind, networks["vae"].config.latent_channels, device, dtype, tell)
            for kind, part in upsamplers.items()
        },
        device=device,
    )
    if device.type == "cuda":
        keep_channels_last(components.vae)
    return components


def _unheard(text: str) -> None:
    pass


def _network(
    folder: Path,
    name: str,
    checkpoint: Checkpoint | None,
    device: torch.device,
    dtype: torch.dtype,
    tell: Callable[[str], None],
) -> Any:
    if checkpoint is not None:
        return _fill(name, checkpoint.networks[name], device, dtype, tell)
    if name == "vocoder":
        network, overrides = _vocoder(folder / name)
    else:
        network, overrides = _NETWORKS[name], _OVERRIDES.get(name, {})
    return _load(network, folder / name, device, dtype, tell, **overrides)


def _fill(name: str, network: Unfilled, device: torch.device, dtype: torch.dtype, tell: Callable[[str], None]) -> Any:
    tell(f"{name}, {network.size / 1e9:.1f} GB")
    return network.fill(device, dtype)


def _load(
    network: Any,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    tell: Callable[[str], None],
    **overrides: Any,
) -> Any:
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    tell(f"{folder.name}, {size / 1e9:.1f} GB")
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


def _vocoder(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    """diffusers' class, and what of its configuration must be put right."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        network = _VOCODERS[config["_class_name"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BundleError(f"{folder}/config.json names no vocoder among {', '.join(_VOCODERS)}: {error}") from error
    # The model was trained with its 16 kHz sound cut off at [-1, 1]; converted configurations forget that.
    forgotten = network is LTX2VocoderWithBWE and config.get("final_act_fn") is None
    return network, {"final_act_fn": "clamp"} if forgotten else {}


def _upsampler(
    part: Unfilled | Path,
    kind: Upsampling,
    channels: int,
    device: torch.device,
    dtype: torch.dtype,
    tell: Callable[[str], None],
) -> Any:
    if isinstance(part, Path):
        path, upsampler = part, _load(LTX2LatentUpsamplerModel, part, device, dtype, tell)
        check_kind(upsampler.config, kind, path)
    else:
        path, upsampler = part.header.path, _fill(kind, part, device, dtype, tell)
    if upsampler.config.in_channels != channels:
        raise BundleError(f"{path} is for {upsampler.config.in_channels} latent channels; the model has {channels}")
    return upsampler


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as in _load
        raise BundleError(f"{folder} cannot be loaded: {error}") from error


def _text_features(folder: Path) -> int:
    """How many numbers the text encoder gives for a token: the states of all its layers, and the embedding."""
    try:
        config = Gemma3Config.from_pretrained(folder, local_files_only=True).text_config
        return int(config.hidden_size * (config.num_hidden_layers + 1))
    except Exception as error:  # as in _load
        raise BundleError(f"{folder} cannot be loaded: {error}") from error


def _check(networks: Mapping[str, Any], manifest: Manifest, text_features: int) -> None:
    """That manifest, text encoder and networks belong together, where a mistake would go unnoticed or fail late."""
    transformer, connectors, vae = networks["transformer"].config, networks["connectors"].config, networks["vae"]
    family = "ltx-2.3" if transformer.cross_attn_mod else "ltx-2"
    if family != manifest.family:
        raise BundleError(f"{manifest.name} says it is of family {manifest.family}, but its transformer is {family}")
    if manifest.stg_block >= transformer.num_layers:
        raise BundleError(f"{manifest.name}: stg_block {manifest.stg_block} of {transformer.num_layers} blocks")
    model = manifest.model()
    ratios = vae.spatial_compression_ratio, vae.temporal_compression_ratio
    if ratios != (model.spatial_multiple, model.temporal_multiple):
        raise BundleError(f"{manifest.name}: the VAE compresses {ratios}, not by the model's multiples")
    wanted = connectors.caption_channels * connectors.text_proj_in_factor
    if text_features != wanted:
        raise BundleError(
            f"{manifest.name}: the text encoder gives {text_features} features a token, the connectors take {wanted}"
        )
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
