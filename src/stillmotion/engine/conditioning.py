"""The start image: from pixels to latent tokens that the video must hold."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Which video tokens are free and what the others must show.

    ``mask`` (1, tokens, 1) in fp32: 1 where a token is free, ``1 - strength`` where an image is set.
    ``clean`` (1, tokens, channels) in fp32: the image's latents, 0 where there is none.
    """

    mask: Tensor
    clean: Tensor

    def start(self, noise: Tensor) -> Tensor:
        """The state at noise level 1: noise where free, the image where held."""
        return noise * self.mask + self.clean * (1 - self.mask)

    def hold(self, estimate: Tensor) -> Tensor:
        """A clean estimate pulled back to the image by its strength."""
        return estimate * self.mask + self.clean * (1 - self.mask)


def free(tokens: int, channels: int, device: torch.device) -> Conditioning:
    """No image: every token is free."""
    return Conditioning(torch.ones(1, tokens, 1, device=device), torch.zeros(1, tokens, channels, device=device))


def start_image(image: Tensor, strength: float, tokens: int) -> Conditioning:
    """Sets ``image``, the (1, tokens of one frame, channels) latents of ``encode``, as the first latent frame."""
    conditioning = free(tokens, image.shape[-1], image.device)
    conditioning.mask[:, : image.shape[1]] = 1 - strength
    conditioning.clean[:, : image.shape[1]] = image
    return conditioning


def fit(image: npt.NDArray[np.uint8], width: int, height: int) -> Tensor:
    """Scales an upright RGB picture (rows, columns, 3) to cover ``width`` x ``height`` and cuts the centre out.

    Returns (3, height, width) in fp32, -1..1. Bilinear without antialiasing to the ceiling of the scaled size: what the
    model saw in training.
    """
    rows, columns = image.shape[:2]
    scale = max(height / rows, width / columns)
    size = math.ceil(rows * scale), math.ceil(columns * scale)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    pixels = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return pixels[:, top : top + height, left : left + width] / 127.5 - 1


def encode(vae: Any, pixels: Tensor) -> Tensor:
    """Normalised latents (1, tokens of one frame, channels) in fp32 of a picture (3, height, width) in -1..1.

    The mean of the VAE's posterior, not a sample: the same image always gives the same latents.
    """
    latents = vae.encode(pixels[None, :, None].to(vae.device, vae.dtype)).latent_dist.mode().float()
    return pack((latents - channelwise(vae.latents_mean, latents)) / channelwise(vae.latents_std, latents))


def pack(latents: Tensor) -> Tensor:
    """(1, channels, frames, rows, columns) to tokens (1, frames * rows * columns, channels)."""
    return latents.flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, frames: int, rows: int, columns: int) -> Tensor:
    """The inverse of ``pack``."""
    return tokens.transpose(1, 2).reshape(*tokens.shape[::2], frames, rows, columns)


def channelwise(statistic: Tensor, latents: Tensor) -> Tensor:
    """A per-channel statistic of the VAE, shaped and typed to meet (1, channels, frames, rows, columns)."""
    return statistic.to(latents).view(1, -1, 1, 1, 1)
