"""Images that the video must hold: from pixels to latent tokens, and their place among the tokens."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Which video tokens are free, what the others must show, and where all of them are.

    The tokens are those of the grid, then one frame of them for each keyframe that was appended.
    """

    mask: Tensor
    """(1, tokens, 1) in fp32: 1 where a token is free, ``1 - strength`` where an image is set."""
    clean: Tensor
    """(1, tokens, channels) in fp32: the images' latents, 0 where there is none."""
    coords: Tensor
    """(1, 3, tokens, 2): as ``Grid.video_coords``."""

    def with_start(self, image: Tensor, strength: float) -> Self:
        """Sets ``image``, the (1, tokens of one frame, channels) latents of ``encode``, as the first latent frame.

        The causal VAE gives the first picture a latent frame of its own, so this shows the image as it is.
        """
        mask, clean = self.mask.clone(), self.clean.clone()
        mask[:, : image.shape[1]] = 1 - strength
        clean[:, : image.shape[1]] = image
        return replace(self, mask=mask, clean=clean)

    def with_keyframe(self, image: Tensor, strength: float, frame: float, fps: float) -> Self:
        """Appends ``image`` as tokens that are there for exactly the pixel frame ``frame`` of ``fps`` per second.

        Later latent frames stand for 8 pictures each, so one picture cannot be set in place; attention carries it
        over. The tokens are denoised with the others and then dropped.
        """
        tokens = image.shape[1]
        coords = self.coords[:, :, :tokens].clone()
        coords[:, 0, :, 0], coords[:, 0, :, 1] = frame / fps, (frame + 1) / fps
        return replace(
            self,
            mask=torch.cat((self.mask, torch.full_like(self.mask[:, :tokens], 1 - strength)), dim=1),
            clean=torch.cat((self.clean, image), dim=1),
            coords=torch.cat((self.coords, coords), dim=2),
        )

    def hold(self, tokens: Tensor) -> Tensor:
        """Tokens pulled to the image by its strength: noise at the start of a run, estimates during it."""
        return tokens * self.mask + self.clean * (1 - self.mask)


def free(coords: Tensor, channels: int) -> Conditioning:
    """No image: every one of the tokens at ``coords`` is free."""
    tokens = coords.shape[2]
    return Conditioning(
        mask=torch.ones(1, tokens, 1, device=coords.device),
        clean=torch.zeros(1, tokens, channels, device=coords.device),
        coords=coords,
    )


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
