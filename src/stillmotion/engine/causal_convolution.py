"""The video VAE's convolutions, with the padding in time written so that it keeps their fast layout."""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoCausalConv3d
from torch import Tensor, nn


class CausalConv3d(nn.Module):
    """``conv`` over frames of which the first (causal), or the first and the last, are repeated at the edges.

    Takes and gives (batch, channels, frames, rows, columns), in the channels-last layout. Joining the repeated frames
    to the others, as diffusers' module does, falls back to the default layout, and each convolution then copies twice:
    decoding 121 frames of 1280x704 with the LTX-2.3 VAE took 1.12 s so on an H200, 0.63 s in the default layout
    throughout (12.6 GiB at the peak), and takes 0.60 s here (9.3 GiB).
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, hidden_states: Tensor, causal: bool = True) -> Tensor:
        edges = self.conv.kernel_size[0] - 1
        before = edges if causal else edges // 2
        after = edges - before
        if edges:
            hidden_states = _padded(hidden_states, before, after)
        result: Tensor = self.conv(hidden_states)
        return result


def keep_channels_last(vae: Any) -> None:
    """Puts ``vae`` into the channels-last layout and has its convolutions stay in it."""
    for parent in list(vae.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LTX2VideoCausalConv3d):
                setattr(parent, name, CausalConv3d(child.conv))
    vae.to(memory_format=torch.channels_last_3d)


def _padded(frames: Tensor, before: int, after: int) -> Tensor:
    batch, channels, count, rows, columns = frames.shape
    padded = torch.empty(
        (batch, channels, before + count + after, rows, columns),
        dtype=frames.dtype,
        device=frames.device,
        memory_format=torch.channels_last_3d,
    )
    padded[:, :, before : before + count] = frames
    padded[:, :, :before] = frames[:, :, :1]
    if after:
        padded[:, :, before + count :] = frames[:, :, -1:]
    return padded
