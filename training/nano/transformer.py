"""The transformer: diffusers' own class, small, started so that it learns in minutes."""

from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from torch import nn

from training.nano import sound_training, text
from training.nano.blocks import CHANNELS, SPATIAL, TEMPORAL
from training.nano.presets import Preset

_ROPE_SIDE, _ROPE_SECONDS, _ROPE_THETA = 256, 4, 24.0
"""Wavelengths from 512 pixels and 8 seconds down to a 24th of it. The full model's 2048 pixels, 20 seconds and 10000
would give our few heads frequencies that all look the same over 256 pixels, or alias between two tokens."""

_SHIFT, _SCALE, _GATE = 0, 1, 2


def build(preset: Preset, seed: int) -> Any:
    head, audio_head = preset.width // preset.heads, preset.audio_width // preset.heads
    torch.manual_seed(seed)
    transformer = LTX2VideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=preset.heads,
        attention_head_dim=head,
        cross_attention_dim=preset.width,
        vae_scale_factors=(TEMPORAL, SPATIAL, SPATIAL),
        pos_embed_max_pos=_ROPE_SECONDS,
        base_height=_ROPE_SIDE,
        base_width=_ROPE_SIDE,
        audio_in_channels=sound_training.TOKEN,
        audio_out_channels=sound_training.TOKEN,
        audio_num_attention_heads=preset.heads,
        audio_attention_head_dim=audio_head,
        audio_cross_attention_dim=preset.audio_width,
        audio_pos_embed_max_pos=_ROPE_SECONDS,
        num_layers=preset.layers,
        caption_channels=text.WIDTH,
        rope_theta=_ROPE_THETA,
        rope_double_precision=False,
        perturbed_attn=True,
    )
    with torch.no_grad():
        for block in transformer.transformer_blocks:
            _start_block(block)
        _start_ends(transformer)
    return transformer


def _start_block(block: Any) -> None:
    """Gates open, modulation neutral, what is added small: every block starts near the identity."""
    for name in ("scale_shift_table", "audio_scale_shift_table"):
        table = getattr(block, name)
        table.zero_()
        table[_GATE] = table[3 + _GATE] = 1
    for name in ("video_a2v_cross_attn_scale_shift_table", "audio_a2v_cross_attn_scale_shift_table"):
        table = getattr(block, name)
        table.zero_()
        table[-1] = 1
    outputs = [module.to_out[0] for name, module in block.named_children() if "attn" in name]
    for output in (*outputs, block.ff.net[2], block.audio_ff.net[2]):
        output.weight.mul_(0.2)
        output.bias.zero_()


def _start_ends(transformer: Any) -> None:
    for name, module in transformer.named_children():
        if name.endswith("time_embed") or name.startswith("av_cross_attn"):
            module.linear.weight.mul_(0.1)
            module.linear.bias.zero_()
    for table in (transformer.scale_shift_table, transformer.audio_scale_shift_table):
        table.zero_()
    for last in (transformer.proj_out, transformer.audio_proj_out):
        last.weight.zero_()
        last.bias.zero_()


def matrices(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The blocks' matrices, which an orthogonal update suits, and the rest."""
    chosen: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        is_matrix = parameter.ndim == 2 and min(parameter.shape) >= 16
        (chosen if is_matrix and "transformer_blocks" in name and "table" not in name else rest).append(parameter)
    return chosen, rest
