"""The rates that a GPU reaches at the shapes of a full request, for the floor: measured with torch's own kernels."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.floor import ASSUMED, AUDIO, EXPANSION, VIDEO, Rates

TOKENS, HEADS = 14080, 32
"""Of 1280x704 and 121 frames; heads of 128."""
_REPEATS = 10
_KERNELS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION)


def measured(device: torch.device) -> Rates | None:
    """``None`` where there is no CUDA device. Takes two seconds and 8 GB."""
    if device.type != "cuda":
        return None
    with torch.inference_mode():
        linear = _linear(device)
        return replace(ASSUMED, linear=linear, text=linear, attention=_attention(device), convolution=_conv(device))


def _linear(device: torch.device) -> float:
    """The feed-forward's first layer, where most of the linear work is."""
    tokens, weight = _random(TOKENS, VIDEO, device=device), _random(EXPANSION * VIDEO, VIDEO, device=device)
    return 2.0 * TOKENS * weight.numel() / _seconds(lambda: functional.linear(tokens, weight), device)


def _attention(device: torch.device) -> float:
    """The faster of torch's kernels; one that a machine does not have counts for nothing."""
    query, key, value = (_random(1, HEADS, TOKENS, VIDEO // HEADS, device=device) for _ in range(3))
    found = []
    for kernel in _KERNELS:
        try:
            with sdpa_kernel(kernel):
                found.append(_seconds(lambda: functional.scaled_dot_product_attention(query, key, value), device))
        except RuntimeError:
            continue
    return 4.0 * TOKENS * TOKENS * VIDEO / min(found)


def _conv(device: torch.device) -> float:
    """A layer from the middle of the video decoder, 3x3x3 over 512 channels, in the layout of the engine's VAE."""
    channels = AUDIO // 4
    volume = _random(1, channels, 31, 88, 160, device=device).to(memory_format=torch.channels_last_3d)
    weight = _random(channels, channels, 3, 3, 3, device=device).to(memory_format=torch.channels_last_3d)
    flop = 2.0 * weight.numel() * volume[0, 0].numel()
    return flop / _seconds(lambda: functional.conv3d(volume, weight, padding=1), device)


def _random(*shape: int, device: torch.device) -> Tensor:
    """Not zeros: a GPU is a tenth faster on those."""
    return torch.randn(shape, device=device, dtype=torch.bfloat16)


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Median of single calls, by the device's own clock."""
    for _ in range(3):
        call()
    marks: list[Any] = [torch.cuda.Event(enable_timing=True) for _ in range(_REPEATS + 1)]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize(device)
    milliseconds: list[float] = [before.elapsed_time(after) for before, after in pairwise(marks)]
    return statistics.median(milliseconds) / 1000
