"""Training of the video decoder: its resnets learn what the block transform lost, seams between blocks first.

The encoder and so the latents stay as they are, and the diffusion model can be trained at the same time. Latents are
noised a little, because those that the diffusion model makes are not exact either.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.nano import blocks, checkpoint, moves, video_vae
from training.nano.loop import Phase, Segment, averaged, generator
from training.nano.pictures import picture

NAME = "video"
_SIDE, _FRAMES, _CROPS = 64, 17, 4
_FITTED_SIDE = 96
_NOISE = 0.12
"""Largest deviation of the noise on the latents, whose own is 1."""

_FRESH, _FIT, _PICTURES = 50_000_000, 60_000_000, 4
"""Seeds of this phase's pictures and of those that the components are fitted on."""


def fit_basis(folder: Path, seed: int, sizes: tuple[int, ...], clips: int, samples: int) -> None:
    """Principal components of clips of several sizes, written as ``basis.pt``."""
    generator_ = generator(seed, _FIT)
    parts = []
    for index, size in enumerate(sizes):
        stills = load_pictures([(seed, _FIT + index, number) for number in range(clips)], size, size)
        speeds = 0.6 + 0.8 * torch.rand(clips, generator=generator_)
        clip = moves.clip(stills, [number % len(moves.MOVES) for number in range(clips)], speeds, 25)
        # The same number of blocks of each size, from another corner each.
        top, left = ((index + offset) % 2 * (size - _FITTED_SIDE) for offset in (0, index % 3))
        parts.append(clip[..., top : top + _FITTED_SIDE, left : left + _FITTED_SIDE])
    basis = blocks.fit(torch.cat(parts), seed, samples)
    checkpoint.save(folder / "basis.pt", basis.state())


def load_basis(folder: Path) -> blocks.Basis:
    return blocks.Basis.of(checkpoint.load(folder / "basis.pt"))


def load_pictures(seeds: list[tuple[int, ...]], width: int, height: int, crf: int = 0) -> Tensor:
    """(pictures, 3, height, width) in -1..1."""
    return as_tensor(np.stack([picture(seed, width, height, crf) for seed in seeds]))


def as_tensor(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(pictures, height, width, 3) of bytes to (pictures, 3, height, width) in -1..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def load_vae(folder: Path) -> Any:
    """The VAE as far as it is trained."""
    vae = video_vae.build(load_basis(folder))
    if (folder / f"{NAME}.pt").exists():
        vae.decoder.load_state_dict(averaged(folder, NAME, "decoder"))
    return vae.requires_grad_(False)


def phase(folder: Path, seed: int) -> Phase:
    vae = video_vae.build(load_basis(folder)).requires_grad_(False).train()
    resnets, upsamplers = video_vae.trained_parameters(vae)
    for parameter in (*resnets, *upsamplers):
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(
        [{"params": resnets, "lr": 4e-4}, {"params": upsamplers, "lr": 3e-5}], betas=(0.9, 0.99)
    )
    source = _Crops(seed)

    def step(number: int, segment: Segment) -> dict[str, Tensor | float]:
        clips, noise = source(number)
        with torch.no_grad():
            latents = video_vae.encode(vae, clips)
            latents[:, : blocks.PRINCIPAL] += noise(latents[:, : blocks.PRINCIPAL])
        decoded = vae.decode(latents, return_dict=False)[0]
        square, slope = functional.mse_loss(decoded, clips), _slopes(decoded, clips)
        torch.autograd.backward(square + 0.05 * functional.l1_loss(decoded, clips) + 0.5 * slope)
        return {"mse": square.detach(), "slope": slope.detach()}

    return Phase(NAME, {"decoder": vae.decoder}, [optimizer], step, clip=0.5, decay=0.99)


def _slopes(decoded: Tensor, clips: Tensor) -> Tensor:
    """Squared error of differences to the right and below, where seams between blocks show."""
    error = decoded - clips
    return error.diff(dim=-1).square().mean() + error.diff(dim=-2).square().mean()


class _Crops:
    """Crops of moving pictures; every picture is seen in four steps, so that drawing does not hold up training."""

    def __init__(self, seed: int) -> None:
        self._seed, self._epoch = seed, -1
        self._clips: list[Tensor] = []

    def __call__(self, number: int) -> tuple[Tensor, Any]:
        epoch = number // 4
        if epoch != self._epoch:
            self._epoch, self._clips = epoch, self._render(epoch)
        random = generator(self._seed, _FRESH, number)
        crops = []
        for clip in self._clips:
            rows, columns = clip.shape[-2:]
            top, left = (int(torch.randint(0, side - _SIDE + 1, (), generator=random)) for side in (rows, columns))
            crops.append(clip[:, :, top : top + _SIDE, left : left + _SIDE])
        deviation = _NOISE * torch.rand(len(crops), 1, 1, 1, 1, generator=random)

        def noise(latents: Tensor) -> Tensor:
            return deviation * torch.randn(latents.shape, generator=random)

        return torch.stack(crops), noise

    def _render(self, epoch: int) -> list[Tensor]:
        random = generator(self._seed, _FRESH + 1, epoch)
        side = (128, 192, 256)[epoch % 3]
        stills = load_pictures([(self._seed, _FRESH, epoch, index) for index in range(_CROPS)], side, side)
        speeds = (0.4 + torch.rand(_CROPS, generator=random)) * _FRAMES / 25
        chosen = torch.randint(0, len(moves.MOVES), (_CROPS,), generator=random).tolist()
        return list(moves.clip(stills, chosen, speeds, _FRAMES))
