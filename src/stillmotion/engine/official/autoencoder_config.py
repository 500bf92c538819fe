"""Configurations of the video and the audio autoencoder, from the shapes of their tensors and the metadata."""

import math
from typing import Any

from stillmotion.engine.official.facts import Metadata, Shapes
from stillmotion.job import Family

_SCALING = {4: "spatial", 2: "temporal", 8: "spatiotemporal"}
"""How many values a resampler moves between a position and its channels: a factor 2 in 2, 1 or 3 dimensions."""
_LATENT_BINS = 4
"""The audio VAE halves the spectrum's frequency bins twice."""


def video_vae_config(shapes: Shapes, metadata: Metadata, family: Family) -> dict[str, Any]:
    """Arguments of AutoencoderKLLTX2Video.

    No shape tells how borders are padded, nor whether upsampling has a residual path, and a wrong guess loads and
    decodes to something plausible. The metadata tell both; LTX-2's say nothing of padding and mean zeros in the
    encoder, reflection in the decoder.
    """
    newer = family == "ltx-2.3"
    padding = metadata.said("vae.spatial_padding_mode", "zeros" if newer else "")
    channels = metadata.said("vae.in_channels", 3)
    area = shapes.exactly(shapes.of("encoder.conv_in.conv.weight", 5)[1], channels, "encoder's input")
    patch = math.isqrt(area)
    if patch * patch != area:
        raise shapes.fault(f"has patches of {area} pixels, which are not square")
    encoder = _encoder(shapes, metadata)
    types = encoder["downsample_type"]
    return {
        "in_channels": channels,
        "out_channels": shapes.exactly(shapes.of("decoder.conv_out.conv.weight", 5)[0], area, "decoder's output"),
        "latent_channels": shapes.of("latents_mean", 1)[0],
        "patch_size": patch,
        **encoder,
        **_decoder(shapes, metadata, residual=not newer),
        "encoder_causal": True,
        "decoder_causal": metadata.said("vae.causal_decoder", False),
        "encoder_spatial_padding_mode": padding or "zeros",
        "decoder_spatial_padding_mode": padding or "reflect",
        "spatial_compression_ratio": patch * 2 ** sum(kind != "temporal" for kind in types),
        "temporal_compression_ratio": 2 ** sum(kind != "spatial" for kind in types),
    }


def compression(config: dict[str, Any]) -> tuple[int, int]:
    """(frames, pixels of a side) that one latent stands for."""
    return config["temporal_compression_ratio"], config["spatial_compression_ratio"]


def _encoder(shapes: Shapes, metadata: Metadata) -> dict[str, Any]:
    blocks = [f"encoder.down_blocks.{index}" for index in range(shapes.count("encoder.down_blocks"))]
    stacks = [*blocks, "encoder.mid_block"]
    widths = [_width(shapes, stack) for stack in stacks]
    factors = [
        shapes.exactly(after, shapes.of(f"{block}.downsamplers.0.conv.conv.weight", 5)[0], f"{block}'s width")
        for block, after in zip(blocks, widths[1:], strict=True)
    ]
    return {
        "block_out_channels": tuple(widths[1:]),
        "down_block_types": ("LTX2VideoDownBlock3D",) * len(blocks),
        "layers_per_block": _layers(shapes, metadata, stacks, "vae.encoder_blocks"),
        "spatio_temporal_scaling": (True,) * len(blocks),
        "downsample_type": tuple(_scaling(shapes, factor) for factor in factors),
    }


def _decoder(shapes: Shapes, metadata: Metadata, *, residual: bool) -> dict[str, Any]:
    """In diffusers' order: what is listed by width goes from the output to the latents, the types the other way."""
    blocks = [f"decoder.up_blocks.{index}" for index in range(shapes.count("decoder.up_blocks"))]
    stacks = ["decoder.mid_block", *blocks]
    widths = [_width(shapes, stack) for stack in stacks]
    # A resampler widens by its scaling and divides by how much narrower the next stack is.
    narrowing = [
        shapes.exactly(before, after, f"{block}'s width")
        for block, before, after in zip(blocks, widths, widths[1:], strict=False)
    ]
    types = [
        _scaling(
            shapes,
            shapes.exactly(
                shapes.of(f"{block}.upsamplers.0.conv.conv.weight", 5)[0] * factor, before, f"{block}'s upsampling"
            ),
        )
        for block, before, factor in zip(blocks, widths, narrowing, strict=False)
    ]
    return {
        "decoder_block_out_channels": tuple(reversed(widths[:-1])),
        "decoder_layers_per_block": _layers(shapes, metadata, stacks[::-1], "vae.decoder_blocks"),
        "decoder_spatio_temporal_scaling": (True,) * len(blocks),
        "decoder_inject_noise": (False,) * len(stacks),
        "upsample_type": tuple(types),
        "upsample_factor": tuple(reversed(narrowing)),
        "upsample_residual": _residuals(shapes, metadata, len(blocks), default=residual),
    }


def _layers(shapes: Shapes, metadata: Metadata, stacks: list[str], said: str) -> tuple[int, ...]:
    """Resnets of each stack, in the metadata's order, which is diffusers' as well."""
    layers = [shapes.count(f"{stack}.resnets") for stack in stacks]
    listed = metadata.blocks(said)
    if listed is not None:
        shapes.agreed("layers", layers, [options.get("num_layers", 1) for kind, options in listed if kind == "res_x"])
    return tuple(layers)


def _residuals(shapes: Shapes, metadata: Metadata, count: int, *, default: bool) -> tuple[bool, ...]:
    """Whether each upsampling has a residual path, from the output to the latents, as the metadata list the blocks."""
    listed = metadata.blocks("vae.decoder_blocks")
    if listed is None:
        return (default,) * count
    residuals = tuple(bool(options.get("residual", False)) for kind, options in listed if kind.startswith("compress"))
    if len(residuals) != count:
        raise shapes.fault(f"has {count} upsampling blocks, its metadata {len(residuals)}")
    return residuals


def _width(shapes: Shapes, stack: str) -> int:
    return shapes.of(f"{stack}.resnets.0.conv1.conv.weight", 5)[1]


def _scaling(shapes: Shapes, factor: int) -> str:
    if factor not in _SCALING:
        raise shapes.fault(f"resamples by {factor}, not by one of {sorted(_SCALING)}")
    return _SCALING[factor]


def audio_vae_config(shapes: Shapes, metadata: Metadata) -> dict[str, Any]:
    """Arguments of AutoencoderKLLTX2Audio."""
    base, incoming, *_ = shapes.of("encoder.conv_in.conv.weight", 4)
    latent = shapes.of("decoder.conv_in.conv.weight", 4)[1]
    levels = shapes.count("encoder.down")
    widths = [shapes.of(f"encoder.down.{level}.block.0.conv1.conv.weight", 4)[0] for level in range(levels)]
    multiples = [shapes.exactly(width, base, "encoder's width") for width in widths]
    resnets = shapes.count("encoder.down.0.block")
    params = "audio_vae.model.params"
    options = f"{params}.ddconfig"
    return {
        "base_channels": base,
        "in_channels": incoming,
        "output_channels": shapes.of("decoder.conv_out.conv.weight", 4)[0],
        "ch_mult": tuple(shapes.agreed("widths", multiples, metadata.said(f"{options}.ch_mult", multiples))),
        "num_res_blocks": shapes.agreed("resnets", resnets, metadata.said(f"{options}.num_res_blocks", resnets)),
        "latent_channels": latent,
        "double_z": shapes.of("encoder.conv_out.conv.weight", 4)[0] == 2 * latent,
        # The statistics have one value for each latent channel of each latent bin.
        "mel_bins": shapes.exactly(shapes.of("latents_mean", 1)[0], latent, "statistics") * _LATENT_BINS,
        "resolution": metadata.said(f"{options}.resolution", 256),
        "norm_type": metadata.said(f"{options}.norm_type", "pixel"),
        "causality_axis": metadata.said(f"{options}.causality_axis", "height"),
        "sample_rate": metadata.said(f"{params}.sampling_rate", 16000),
        "mel_hop_length": metadata.said("audio_vae.preprocessing.stft.hop_length", 160),
        "is_causal": metadata.said("audio_vae.preprocessing.stft.causal", True),
    }
