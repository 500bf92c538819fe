"""Training of the transformer, over video and sound together, and of the connectors with it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.nano import flow, prompts, sound_training, text, text_training, transformer
from training.nano.clips import Batch, Bucket, Store
from training.nano.loop import Phase, Segment, averaged, generator
from training.nano.moves import MOVES
from training.nano.presets import Preset

NAME = "joint"
_SEED = 20_000_000
_SOUND_WEIGHT = 0.15
_RATES = (25.0, 24.0, 30.0, 12.0, 8.0, 5.0, 2.5, 50.0)
_RATE_SHARES = (5, 5, 1, 2, 1, 4, 1, 0.5)
"""Frames per second. Long clips are computed at few: 25 frames over 5 seconds are 5 a second."""

_MOST_SOUND = 135
"""Latent frames of sound in a step; a rate that would need more is passed over."""

_LENGTH_SHARES = {"small": (0.7, 0.2, 0.1, 0.0), "medium": (0.5, 0.2, 0.28, 0.02), "full": (0.25, 0.2, 0.5, 0.05)}
"""Of the text lengths: short ones first, which cost less."""

_CAMERA_FREE = 0.6
"""Share of static clips whose prompt names no camera at all; of those half have no prompt."""

_NEGATIVE = 0.06
_ALONE, _PERTURBED = 0.04, 0.04
"""Share of the steps in which the modalities do not see each other, and in which the last block's self-attention is
switched off: guidance computes both, and away from what a model has never seen lies nothing good."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What a step needs; ``transformer`` and ``connectors`` are trained."""

    transformer: Any
    connectors: Any
    tokenizer: Any
    encoder: Any
    sounds: "Sounds"
    device: torch.device

    def texts(self, batch: Sequence[str], length: int) -> flow.Texts:
        with torch.no_grad():
            states, mask = text.hidden_states(self.tokenizer, self.encoder, batch, length)
        video, audio, _ = self.connectors(states, mask, padding_side="left")
        return flow.Texts(video, audio)


class Sounds:
    """Latents of sounds: a few of each move and length, made when they are first wanted."""

    def __init__(self, vae: Any, variants: int, seed: int) -> None:
        self._vae, self._variants, self._seed = vae, variants, seed
        self._made: dict[int, Tensor] = {}

    def __call__(self, chosen: Tensor, frames: int, random: torch.Generator) -> Tensor:
        """(clips, frames, 32)."""
        if frames not in self._made:
            moves = [move for move in range(len(MOVES)) for _ in range(self._variants)]
            made = sound_training.tokens(self._vae, moves, frames, generator(self._seed, _SEED + 7, frames))
            self._made[frames] = made.view(len(MOVES), self._variants, frames, -1)
        variants = torch.randint(0, self._variants, chosen.shape, generator=random)
        return self._made[frames][chosen, variants]


def load(folder: Path, preset: Preset, seed: int, device: torch.device, *, average: bool) -> Networks:
    """The networks as this phase left them (``average``: their averages), or as it begins."""
    model = transformer.build(preset, seed + 3)
    connectors = text_training.load_connectors(folder, seed)
    if average and (folder / f"{NAME}.pt").exists():
        model.load_state_dict(averaged(folder, NAME, "transformer"))
        connectors.load_state_dict(averaged(folder, NAME, "connectors"))
    return Networks(
        transformer=model.to(device),
        connectors=connectors.to(device),
        tokenizer=text_training.load_tokenizer(folder),
        encoder=text_training.load_encoder(folder, seed).to(device),
        sounds=Sounds(sound_training.load_vae(folder), preset.sound_variants, seed),
        device=device,
    )


def phase(folder: Path, preset: Preset, seed: int, device: torch.device, *, compiled: bool = False) -> Phase:
    networks = load(folder, preset, seed, device, average=False)
    store = Store(folder, preset.buckets, seed, preset.tokens)
    matrices, rest = transformer.matrices(networks.transformer)
    rest += networks.connectors.parameters()
    optimizers = [
        torch.optim.Muon(matrices, lr=0.01 * preset.rate, weight_decay=0.0, momentum=0.95, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=2e-3 * preset.rate, betas=(0.9, 0.97), weight_decay=0.0),
    ]
    forward = torch.compile(networks.transformer) if compiled else networks.transformer

    def step(number: int, segment: Segment) -> dict[str, Tensor | float]:
        return losses(networks, forward, store.batch(segment.mix, number), segment.mix, seed, number)

    modules: dict[str, nn.Module] = {"transformer": networks.transformer, "connectors": networks.connectors}
    return Phase(NAME, modules, optimizers, step, decay=0.997)


def losses(
    networks: Networks,
    forward: Any,
    batch: Batch,
    mix: str,
    seed: int,
    number: int,
    *,
    texts: Sequence[str] | None = None,
    levels: Sequence[float] | None = None,
) -> dict[str, Tensor | float]:
    """Gradients of one step; the same for the same number.

    ``texts``: the prompts, where they are not those of the clips' moves. ``levels``: the only noise levels to learn.
    """
    random_, chosen = generator(seed, _SEED, number), random.Random(f"{seed} {_SEED} {number}")
    grid = pick_grid(batch.bucket, chosen)
    length = text_training.pick_length(chosen, _LENGTH_SHARES.get(mix, _LENGTH_SHARES["full"]))
    if texts is None:
        texts = [prompt(int(move), int(speed), chosen) for move, speed in zip(batch.moves, batch.speeds, strict=True)]
    embedded = networks.texts(texts, length)

    video, sound = batch.latents, networks.sounds(batch.moves, grid.audio_frames, random_)
    sigma = _sigma(len(video), random_, levels)
    free = mask(batch.bucket, grid, len(video), random_) * sigma[:, None]
    noise, sound_noise = (torch.randn(clean.shape, generator=random_) for clean in (video, sound))
    noised, noised_sound = video.lerp(noise, free[..., None]), sound.lerp(sound_noise, sigma[:, None, None])

    device = networks.device
    end = batch.bucket.frames - 1.0 if batch.bucket.kind != "plain" else None
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        moved, sounded = flow.velocity(
            forward,
            grid,
            noised.to(device),
            noised_sound.to(device),
            embedded,
            free.to(device),
            flow.coordinates(networks.transformer, grid, len(video), device, end_frame=end),
            sigma.to(device),
            **_switched_off(chosen, networks.transformer),
        )
    weights = (free > 0).float().to(device)
    error = (moved - (noise - video).to(device)).square().mean(-1)
    seen = (error * weights).sum() / weights.sum()
    heard = (sounded - (sound_noise - sound).to(device)).square().mean()
    torch.autograd.backward(seen + _SOUND_WEIGHT * heard)
    return {"video": seen.detach(), "sound": heard.detach()}


def _switched_off(chosen: random.Random, network: Any) -> dict[str, Any]:
    kind = chosen.random()
    if kind < _ALONE:
        return {"isolate_modalities": True}
    if kind < _ALONE + _PERTURBED:
        return {"spatio_temporal_guidance_blocks": [stg_block(network)]}
    return {}


def stg_block(network: Any) -> int:
    """The block that spatio-temporal guidance perturbs: the last one."""
    return int(network.config.num_layers) - 1


def _sigma(clips: int, random_: torch.Generator, levels: Sequence[float] | None) -> Tensor:
    if levels is None:
        return flow.shifted(torch.rand(clips, generator=random_))
    return torch.tensor(levels)[torch.randint(0, len(levels), (clips,), generator=random_)]


def prompt(move: int, speed: int, chosen: random.Random) -> str:
    """A text that asks for the move, or goes with it."""
    if chosen.random() < _NEGATIVE:
        return prompts.negative(chosen)
    if MOVES[move] == "static" and chosen.random() < _CAMERA_FREE:
        return "" if chosen.random() < 0.5 else prompts.without_camera(chosen)
    return prompts.with_camera(move, speed, chosen)


def pick_grid(bucket: Bucket, chosen: random.Random) -> flow.Grid:
    """The bucket's grid at one of the frame rates, with as much sound as it lasts."""
    while True:
        fps = chosen.choices(_RATES, _RATE_SHARES)[0]
        sounds = round(bucket.frames / fps * sound_training.RATE)
        if 2 <= sounds <= max(_MOST_SOUND, bucket.frames + 1):
            return flow.Grid(*bucket.grid, fps, sounds)


def mask(bucket: Bucket, grid: flow.Grid, clips: int, random_: torch.Generator) -> Tensor:
    """(clips, tokens): 1 where a token is free. A picture is held exactly, or less so, or is not there at all."""
    free = torch.ones(clips, grid.tokens + (grid.first if bucket.kind != "plain" else 0))

    def strengths() -> Tensor:
        kinds, partly = torch.rand(clips, generator=random_), torch.rand(clips, generator=random_)
        return torch.where(kinds < 0.86, torch.zeros(clips), torch.where(kinds < 0.95, partly, torch.ones(clips)))

    if bucket.kind != "arriving":
        free[:, : grid.first] = strengths()[:, None]
    if bucket.kind != "plain":
        free[:, grid.tokens :] = strengths()[:, None] if bucket.kind == "dissolve" else 0
    return free
