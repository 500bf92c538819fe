"""The video VAE: diffusers' own class, its weights set so that it computes a block transform, its decoder then trained.

Every layer of the encoder is a strided convolution and can be any linear map of its blocks; what stands between is
made linear. Its last norm divides by the root mean square of the channels: one constant channel far larger than the
rest makes that a constant, and SiLU of values near 0 is their half. The decoder's resnets add nothing until trained.
"""

import math
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video, LTX2VideoResnetBlock3d
from torch import Tensor, nn

from training.nano.blocks import CHANNELS, PRINCIPAL, SPATIAL, TEMPORAL, Basis, octants

_CONSTANT = CHANNELS - 1
_ENCODER_LEVEL, _DECODER_LEVEL = 2000.0, 400.0
"""Of the constant channels: 2000 against latents of 1 keeps what SiLU bends below 0.3 %."""

_DECODER_WIDTHS = (32, 64, 128)
_TAPS = [(t, y, x) for t in (1, 2) for y in (1, 2) for x in (1, 2)]
"""Kernel positions that make a strided convolution see exactly its own block, in the order of ``octants``."""

_PATCH = [colour * 4 + x * 2 + y for y in (0, 1) for x in (0, 1) for colour in range(3)]
"""Where the values of a 2 x 2 patch, in our order, lie among the 12 channels of diffusers' patches."""

MIDDLE = 1
"""The kernel's middle along time, without causal padding."""


def build(basis: Basis, resnets: tuple[int, int, int, int] = (2, 2, 2, 1)) -> Any:
    """8 x 16 x 16, 128 channels. ``resnets``: of the decoder's blocks, the last resolution first."""
    vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(CHANNELS,) * 3,
        down_block_types=("LTX2VideoDownBlock3D",) * 3,
        decoder_block_out_channels=_DECODER_WIDTHS,
        layers_per_block=(0,) * 4,
        decoder_layers_per_block=resnets,
        spatio_temporal_scaling=(True,) * 3,
        decoder_spatio_temporal_scaling=(True,) * 3,
        decoder_inject_noise=(False,) * 4,
        downsample_type=("conv",) * 3,
        upsample_type=("spatiotemporal",) * 3,
        upsample_residual=(False,) * 3,
        upsample_factor=(2, 2, 2),
        patch_size=2,
        decoder_causal=False,
        encoder_spatial_padding_mode="zeros",
        decoder_spatial_padding_mode="reflect",
        spatial_compression_ratio=SPATIAL,
        temporal_compression_ratio=TEMPORAL,
    )
    with torch.no_grad():
        _set_encoder(vae.encoder, basis)
        _set_decoder(vae.decoder, basis)
    return vae.eval()


def trained_parameters(vae: Any) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Of the decoder: its resnets, and the upsamplers, which hold the transform and may only drift a little."""
    resnets = [
        parameter
        for module in vae.decoder.modules()
        if isinstance(module, LTX2VideoResnetBlock3d)
        for parameter in module.parameters()
    ]
    return resnets, [block.upsamplers[0].conv.conv.weight for block in vae.decoder.up_blocks]


def encode(vae: Any, clips: Tensor) -> Tensor:
    latents: Tensor = vae.encode(clips, return_dict=False)[0].mode()
    return latents


def _blank(convolution: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias, all 0, to be filled."""
    inner = getattr(convolution, "conv", convolution)
    inner.weight.zero_()
    inner.bias.zero_()
    return inner.weight, inner.bias


def _set_encoder(encoder: Any, basis: Basis) -> None:
    """Patches -> 2x4x4 blocks, all 96 values -> 126 components of half blocks -> 126 of whole ones."""
    weight, bias = _blank(encoder.conv_in)
    for ours, theirs in enumerate(_PATCH):
        weight[ours, theirs, 2, 1, 1] = 1
    bias[_CONSTANT] = 1
    (first, _), (second, _), (third, third_bias) = (_blank(block.downsamplers[0]) for block in encoder.down_blocks)
    for tap, quarter, half, whole in zip(_TAPS, octants(2, 4), octants(4, 8), octants(8, 16), strict=True):
        first[quarter, torch.arange(12), *tap] = 1
        second[:PRINCIPAL, :96, *tap] = basis.half[half].T
        third[:PRINCIPAL, :PRINCIPAL, *tap] = (basis.whole[whole] / basis.scale).T @ basis.half
    first[_CONSTANT, _CONSTANT, 2, 1, 1] = second[_CONSTANT, _CONSTANT, 2, 1, 1] = 1
    third_bias[:PRINCIPAL] = -(basis.mean @ basis.analysis)
    third_bias[_CONSTANT] = _ENCODER_LEVEL

    weight, bias = _blank(encoder.conv_out)
    channels = torch.arange(PRINCIPAL)
    weight[channels, channels, 2, 1, 1] = 2 * _ENCODER_LEVEL / math.sqrt(CHANNELS)
    # Beyond the border the padding is 0 and not the constant, which the norm made the root of the channels: the
    # difference of both neighbours is the mark. Without it nothing in the latents says where in the picture they are.
    mark = 2 / math.sqrt(CHANNELS)
    weight[PRINCIPAL, _CONSTANT, 2, 1, 2], weight[PRINCIPAL, _CONSTANT, 2, 1, 0] = mark, -mark
    weight[PRINCIPAL + 1, _CONSTANT, 2, 2, 1], weight[PRINCIPAL + 1, _CONSTANT, 2, 0, 1] = mark, -mark
    bias[CHANNELS] = -30  # the logarithm of the variance of all latents


def _set_decoder(decoder: Any, basis: Basis) -> None:
    """Back through 63 components of half blocks and 31 of quarter ones."""
    channels = torch.arange(PRINCIPAL)
    weight, _ = _blank(decoder.conv_in)
    weight[channels, channels, MIDDLE, 1, 1] = 1
    upsamplers = [_blank(block.upsamplers[0].conv) for block in decoder.up_blocks]
    (first, first_bias), (second, _), (third, _) = upsamplers
    half, quarter = basis.kept_half, basis.quarter
    to_half, to_quarter = half / basis.half_spread, quarter / basis.quarter_spread
    places = zip(octants(8, 16), octants(4, 8), octants(2, 4), strict=True)
    for octant, (whole_place, half_place, quarter_place) in enumerate(places):
        # Channel c * 8 + octant of an upsampler becomes channel c of that octant.
        rows = torch.arange(half.shape[1]) * 8 + octant
        first[rows, :PRINCIPAL, MIDDLE, 1, 1] = to_half.T @ (basis.whole[whole_place] * basis.scale)
        first_bias[rows] = to_half.T @ basis.mean[whole_place]
        rows = torch.arange(quarter.shape[1]) * 8 + octant
        second[rows, : half.shape[1], MIDDLE, 1, 1] = to_quarter.T @ (half * basis.half_spread)[half_place]
        rows = torch.arange(12) * 8 + octant
        third[rows, : quarter.shape[1], MIDDLE, 1, 1] = (quarter * basis.quarter_spread)[quarter_place]
    for module in decoder.modules():
        if isinstance(module, LTX2VideoResnetBlock3d):
            _blank(module.conv2)
    # The last 16 channels are 12 values of a patch and the constant that makes the norm before conv_out linear.
    last = decoder.up_blocks[-1].resnets[-1].conv2.conv
    last.bias[-1] = _DECODER_LEVEL
    weight, _ = _blank(decoder.conv_out)
    for ours, theirs in enumerate(_PATCH):
        weight[theirs, ours, MIDDLE, 1, 1] = 2 * _DECODER_LEVEL / math.sqrt(_DECODER_WIDTHS[0] / 2)
