"""Training of the spatial upsampler: latents of a clip at half size to those at full size.

The network is diffusers' own. Between scales the components of a block are nearly the averages of four, so little
is needed; the transformer's refinement does the rest.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from torch import Tensor
from torch.nn import functional

from training.nano import blocks, moves, video_training
from training.nano.blocks import CHANNELS, Analyser
from training.nano.loop import Phase, Segment, averaged, generator
from training.nano.presets import Preset

NAME = "upsampler"
_SEED = 91_000_000
_SIDES = (128, 192, 256)
_FRAMES = 9
_MIDDLE = 96


def build(seed: int) -> Any:
    torch.manual_seed(seed)
    return LTX2LatentUpsamplerModel(
        in_channels=CHANNELS,
        mid_channels=_MIDDLE,
        num_blocks_per_stage=1,
        dims=2,
        spatial_upsample=True,
        temporal_upsample=False,
        use_rational_resampler=False,
    )


def load(folder: Path, seed: int) -> Any:
    upsampler = build(seed)
    if (folder / f"{NAME}.pt").exists():
        upsampler.load_state_dict(averaged(folder, NAME, "upsampler"))
    return upsampler.eval().requires_grad_(False)


def phase(folder: Path, preset: Preset, seed: int, device: torch.device) -> Phase:
    upsampler = build(seed).to(device)
    analyser = Analyser(video_training.load_basis(folder))
    optimizer = torch.optim.Adam(upsampler.parameters(), lr=1.5e-3, betas=(0.9, 0.98))

    def step(number: int, segment: Segment) -> dict[str, Tensor | float]:
        small, large = (tensor.to(device) for tensor in _pair(analyser, seed, number))
        error = functional.mse_loss(upsampler(small), large)
        torch.autograd.backward(error)
        return {"error": error.detach(), "power": large[:, : blocks.PRINCIPAL].square().mean()}

    return Phase(NAME, {"upsampler": upsampler}, [optimizer], step, decay=0.99)


def _pair(analyser: Analyser, seed: int, number: int) -> tuple[Tensor, Tensor]:
    random = generator(seed, _SEED, number)
    side = _SIDES[number % len(_SIDES)]
    count = 6 * 128 * 128 // (side * side) + 1
    stills = video_training.load_pictures([(seed, _SEED, number, index) for index in range(count)], side, side)
    chosen = torch.randint(0, len(moves.MOVES), (count,), generator=random).tolist()
    clip = moves.clip(stills, chosen, 0.3 * torch.ones(count), _FRAMES)
    half = functional.avg_pool3d(clip, (1, 2, 2))
    return analyser(half), analyser(clip)
