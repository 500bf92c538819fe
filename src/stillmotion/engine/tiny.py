"""Builds a bundle of the real architecture with random weights, a thousandth of the size.

    python -m stillmotion.engine.tiny FOLDER --family ltx-2.3

It shows the machinery, not pictures: every component, layout and code path of a full model, in megabytes and seconds.
The tests run on it, and whoever asks for `tiny-ltx-2`.
"""

import argparse
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import AutoencoderKLLTX2Audio
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from stillmotion.engine.manifest import FORMAT, MANIFEST, Licence, Limits, Manifest
from stillmotion.engine.quiet import without_progress_bars
from stillmotion.engine.tiny_loras import write_loras
from stillmotion.engine.tiny_text import SPECIAL, padded_left, small_gemma
from stillmotion.job import Family, Upsampling, to_json

# One head count for all attention; video tokens are 4 x 16 wide, audio tokens 4 x 8, the text encoder's 32.
_HEADS, _VIDEO_HEAD, _AUDIO_HEAD, _TEXT, _TEXT_LAYERS = 4, 16, 8, 32, 2
_VIDEO_CHANNELS = 8
# The audio VAE's statistics have base_channels entries, which must equal the width of an audio token.
_AUDIO_CHANNELS, _MEL_BINS = 2, 64
_AUDIO_TOKEN = _AUDIO_CHANNELS * _MEL_BINS // 4
_REGISTERS, _SEQUENCE = 16, 256
_LAYERS = 3
_UPSAMPLERS: Mapping[Upsampling, str] = {"spatial_x2": "spatial_upsampler", "temporal_x2": "temporal_upsampler"}


def build_tiny_bundle(
    folder: Path,
    family: Family,
    *,
    seed: int = 0,
    max_pixels: int = 256 * 256,
    max_frames: int = 25,
    can_expand_prompts: bool = False,
) -> None:
    """Writes the bundle to ``folder``, whole or not at all; the same ``seed`` gives the same weights.

    ``max_pixels`` and ``max_frames`` are the limits its manifest states, and ``can_expand_prompts`` what it says of its
    text encoder, whose head is there but writes random letters. Raises FileExistsError if ``folder`` exists. The
    global random state is left alone.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        building.chmod(0o755)  # mkdtemp's folders are private
        with torch.random.fork_rng(devices=[]), torch.no_grad(), without_progress_bars():
            torch.manual_seed(seed)
            components = _components(family)
            for name, component in components.items():
                component.save_pretrained(building / name)
            loras = write_loras(building, components["transformer"], components["connectors"])
        limits = Limits(max_pixels=max_pixels, max_frames=max_frames)
        _write_manifest(building, family, limits, loras, can_expand_prompts)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write_manifest(
    folder: Path, family: Family, limits: Limits, loras: Mapping[str, str], can_expand_prompts: bool
) -> None:
    manifest = Manifest(
        name=f"tiny-{family}",
        family=family,
        stg_block=_LAYERS - 1,
        max_sequence_length=_SEQUENCE,
        licence=Licence(name="CC0-1.0", file="LICENSE.txt"),
        negative_prompt="blurry, distorted, noise",
        limits=limits,
        demonstration=True,
        upsamplers=_UPSAMPLERS,
        loras=loras,
        can_expand_prompts=can_expand_prompts,
    )
    (folder / MANIFEST).write_text(
        json.dumps({"format": FORMAT, **to_json(manifest)}, indent=2) + "\n", encoding="utf-8"
    )
    (folder / "LICENSE.txt").write_text(
        "These weights are random numbers. They are dedicated to the public domain under CC0 1.0 Universal:\n"
        "https://creativecommons.org/publicdomain/zero/1.0/\n",
        encoding="utf-8",
    )


def _components(family: Family) -> dict[str, Any]:
    tokenizer, audio_vae = _tokenizer(), _audio_vae()
    latents = torch.randn(1, _AUDIO_CHANNELS, 32, _MEL_BINS // 4)
    spectrum = audio_vae.decode(latents, return_dict=False)[0]
    return {  # in the order the weights are drawn
        "tokenizer": tokenizer,
        "text_encoder": _text_encoder(tokenizer),
        "connectors": _connectors(family),
        "transformer": _transformer(family),
        "vae": _vae(family),
        "audio_vae": audio_vae,
        "vocoder": _vocoder(spectrum) if family == "ltx-2" else _vocoder_with_bandwidth_extension(spectrum),
        _UPSAMPLERS["spatial_x2"]: _upsampler("spatial_x2", family),
        _UPSAMPLERS["temporal_x2"]: _upsampler("temporal_x2", family),
    }


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and Gemma's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return padded_left(tokenizer, _SEQUENCE)


def _text_encoder(tokenizer: PreTrainedTokenizerFast) -> Any:
    return small_gemma(tokenizer, width=_TEXT, layers=_TEXT_LAYERS, heads=2, head_dim=16, sliding_window=64)


def _connectors(family: Family) -> Any:
    # LTX-2 embeds for both modalities at the text's own width, LTX-2.3 for each at the modality's.
    widths: dict[str, Any] = {
        "video_connector_attention_head_dim": _TEXT // _HEADS,
        "audio_connector_attention_head_dim": _TEXT // _HEADS,
    }
    if family == "ltx-2.3":
        widths = {
            "video_connector_attention_head_dim": _VIDEO_HEAD,
            "audio_connector_attention_head_dim": _AUDIO_HEAD,
            "video_hidden_dim": _HEADS * _VIDEO_HEAD,
            "audio_hidden_dim": _HEADS * _AUDIO_HEAD,
            "video_gated_attn": True,
            "audio_gated_attn": True,
            "per_modality_projections": True,
            "proj_bias": True,
        }
    return LTX2TextConnectors(
        caption_channels=_TEXT,
        text_proj_in_factor=_TEXT_LAYERS + 1,
        video_connector_num_attention_heads=_HEADS,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=_REGISTERS,
        audio_connector_num_attention_heads=_HEADS,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=_REGISTERS,
        rope_type="split",
        **widths,
    )


def _transformer(family: Family) -> Any:
    newer = family == "ltx-2.3"
    transformer = LTX2VideoTransformer3DModel(
        in_channels=_VIDEO_CHANNELS,
        out_channels=_VIDEO_CHANNELS,
        num_attention_heads=_HEADS,
        attention_head_dim=_VIDEO_HEAD,
        cross_attention_dim=_HEADS * _VIDEO_HEAD,
        audio_in_channels=_AUDIO_TOKEN,
        audio_out_channels=_AUDIO_TOKEN,
        audio_num_attention_heads=_HEADS,
        audio_attention_head_dim=_AUDIO_HEAD,
        audio_cross_attention_dim=_HEADS * _AUDIO_HEAD,
        num_layers=_LAYERS,
        caption_channels=_TEXT,
        rope_type="split",
        cross_attn_timestep_scale_multiplier=1000,
        gated_attn=newer,
        audio_gated_attn=newer,
        cross_attn_mod=newer,
        audio_cross_attn_mod=newer,
        use_prompt_embeddings=not newer,
        perturbed_attn=newer,
    )
    # Freshly drawn attention and its gates hardly move the result; a prompt or a modality that gets lost must show.
    for name, weight in transformer.named_parameters():
        gates = name.startswith("av_cross_attn") and name.endswith(".linear.weight")
        if gates or name.endswith(".to_out.0.weight"):
            weight.mul_(4)
    return transformer


def _vae(family: Family) -> Any:
    if family == "ltx-2":
        layout: dict[str, Any] = {
            "block_out_channels": (8, 16, 32, 64),
            "decoder_block_out_channels": (8, 16, 32),
            "decoder_layers_per_block": (1,) * 4,
        }
    else:
        layout = {
            "block_out_channels": (8, 16, 16, 16),
            "decoder_block_out_channels": (8, 16, 16, 16),
            "decoder_layers_per_block": (1,) * 5,
            "decoder_spatio_temporal_scaling": (True,) * 4,
            "decoder_inject_noise": (False,) * 5,
            "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
            "upsample_residual": (False,) * 4,
            "upsample_factor": (2, 2, 1, 2),
            "decoder_spatial_padding_mode": "zeros",
        }
    vae = AutoencoderKLLTX2Video(
        latent_channels=_VIDEO_CHANNELS,
        layers_per_block=(1,) * 5,
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
        **layout,
    ).eval()
    _spread(vae)
    latents = torch.randn(1, _VIDEO_CHANNELS, 3, 4, 4)
    _scale_to(0.5, vae.decoder.conv_out.conv, lambda: vae.decode(latents, return_dict=False)[0])
    return vae


def _upsampler(kind: Upsampling, family: Family) -> Any:
    upsampler = LTX2LatentUpsamplerModel(
        in_channels=_VIDEO_CHANNELS,
        mid_channels=32,  # one for each of its normalisations' 32 groups
        num_blocks_per_stage=1,
        spatial_upsample=kind == "spatial_x2",
        temporal_upsample=kind == "temporal_x2",
        use_rational_resampler=family == "ltx-2" and kind == "spatial_x2",
    ).eval()
    latents = torch.randn(1, _VIDEO_CHANNELS, 3, 4, 4)
    _scale_to(1.0, upsampler.final_conv, lambda: upsampler(latents))
    return upsampler


def _audio_vae() -> Any:
    audio_vae = AutoencoderKLLTX2Audio(
        base_channels=_AUDIO_TOKEN,
        ch_mult=(1, 1, 1),
        num_res_blocks=1,
        latent_channels=_AUDIO_CHANNELS,
        mel_bins=_MEL_BINS,
    ).eval()
    _spread(audio_vae)
    latents = torch.randn(1, _AUDIO_CHANNELS, 16, _MEL_BINS // 4)
    _scale_to(1.0, audio_vae.decoder.conv_out.conv, lambda: audio_vae.decode(latents, return_dict=False)[0])
    return audio_vae


# Half of a full vocoder's upsampling layers and a sixth of its filters: it is the slowest part on a CPU.
_RESNETS = {"resnet_kernel_sizes": [3], "resnet_dilations": [[1, 3]]}


def _vocoder(spectrum: Tensor) -> Any:
    vocoder = LTX2Vocoder(
        in_channels=2 * _MEL_BINS,
        hidden_channels=32,
        upsample_factors=[6, 5, 8],
        upsample_kernel_sizes=[16, 15, 16],
        **_RESNETS,
    ).eval()
    _scale_to(0.2, vocoder.conv_out, lambda: vocoder(spectrum))
    return vocoder


def _vocoder_with_bandwidth_extension(spectrum: Tensor) -> Any:
    bins, window = 32, 128
    network = LTX2VocoderWithBWE(
        in_channels=2 * _MEL_BINS,
        hidden_channels=32,
        upsample_factors=[5, 4, 8],
        upsample_kernel_sizes=[11, 8, 16],
        **_RESNETS,
        bwe_in_channels=2 * bins,
        bwe_hidden_channels=32,
        bwe_upsample_factors=[6, 5, 8],
        bwe_upsample_kernel_sizes=[12, 11, 16],
        **{f"bwe_{name}": value for name, value in _RESNETS.items()},
        final_bias=True,
        bwe_final_bias=True,
        filter_length=window,
        window_length=window,
        num_mel_channels=bins,
    ).eval()
    transform = network.mel_stft
    transform.stft_fn.forward_basis.copy_(_fourier_basis(window)[:, None])
    transform.mel_basis.copy_(torch.rand_like(transform.mel_basis) / transform.mel_basis.shape[1])
    _scale_to(0.15, network.vocoder.conv_out, lambda: network.vocoder(spectrum))
    extended = transform(network.vocoder(spectrum).flatten(0, 1))[0][None]
    _scale_to(0.05, network.bwe_generator.conv_out, lambda: network.bwe_generator(extended, time_last=True))
    return network


def _fourier_basis(window: int) -> Tensor:
    """(window + 2, window): the cosine rows of a Hann-windowed Fourier transform, then the sine rows."""
    angles = 2 * math.pi / window * torch.arange(window // 2 + 1)[:, None] * torch.arange(window)
    return torch.cat((angles.cos(), angles.sin())) * torch.hann_window(window)


def _spread(autoencoder: Any) -> None:
    """Latent statistics that differ from 0 and 1, so that leaving a normalisation out changes the result."""
    autoencoder.latents_mean.normal_(0, 0.1)
    autoencoder.latents_std.uniform_(0.8, 1.2)


def _scale_to(deviation: float, last: Any, output: Callable[[], Tensor]) -> None:
    """Sets the ``last`` layer so that each channel of its ``output`` is centred and neither flat nor clipped."""
    channels = output().transpose(0, 1).flatten(1)
    centre = channels.mean(1)
    gain = deviation / (channels - centre[:, None]).std()
    last.weight.mul_(gain)
    # The video decoder's last layer gives each channel as a patch of pixels, neighbours in the bias.
    last.bias.sub_(centre.repeat_interleave(len(last.bias) // len(centre))).mul_(gain)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Build a tiny model bundle with random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", choices=get_args(Family), default="ltx-2.3")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    build_tiny_bundle(options.folder, options.family, seed=options.seed)


if __name__ == "__main__":
    main()
