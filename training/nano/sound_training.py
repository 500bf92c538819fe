"""Training of the audio VAE on the features of ``sound``."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import AutoencoderKLLTX2Audio
from torch import Tensor

from training.nano import sound
from training.nano.loop import Phase, Segment, averaged, generator
from training.nano.moves import MOVES

NAME, DECODER = "sound", "sound-decoder"
"""The whole VAE first; then its latents are fixed, the transformer can learn them, and the decoder goes on alone."""

CHANNELS, HEIGHT = 4, 8
TOKEN = CHANNELS * HEIGHT
"""Width of a latent frame as the transformer sees it."""

RATE = 25
"""Latent frames a second."""

_SEED = 71_000_000
_NOISE_WEIGHT = 10.0
"""The whoosh is quiet beside the tones: unweighted, it stays at 1 dB for many minutes."""

_BATCH = 8


def build() -> Any:
    return AutoencoderKLLTX2Audio(
        base_channels=TOKEN,
        output_channels=2,
        ch_mult=(1, 2, 2),
        num_res_blocks=1,
        in_channels=2,
        latent_channels=CHANNELS,
        mel_bins=sound.BINS,
        double_z=True,
    )


def load_vae(folder: Path) -> Any:
    """The audio VAE as far as it is trained, its statistics measured."""
    vae = build()
    if (folder / f"{NAME}.pt").exists():
        vae.load_state_dict(averaged(folder, NAME, "vae"))
    if (folder / f"{DECODER}.pt").exists():
        vae.decoder.load_state_dict(averaged(folder, DECODER, "decoder"))
    vae.eval().requires_grad_(False)
    moves = [index % len(MOVES) for index in range(70)]
    with torch.no_grad():
        tokens = pack(vae.encode(sound.features(moves, 26, generator(0, _SEED)), return_dict=False)[0].mode())
    vae.latents_mean.copy_(tokens.mean((0, 1)))
    vae.latents_std.copy_(tokens.std((0, 1)) + 1e-3)
    return vae


def pack(latents: Tensor) -> Tensor:
    """(clips, channels, frames, height) to tokens (clips, frames, channels * height)."""
    return latents.transpose(1, 2).flatten(2)


@torch.no_grad()
def tokens(vae: Any, moves: list[int], latent_frames: int, random: torch.Generator) -> Tensor:
    """Normalised latents of the sound of each move: (clips, latent frames, 32)."""
    encoded = vae.encode(sound.features(moves, latent_frames, random), return_dict=False)[0].mode()
    normalised: Tensor = (pack(encoded) - vae.latents_mean) / vae.latents_std
    return normalised


def phase(folder: Path, seed: int) -> Phase:
    torch.manual_seed(seed)
    vae = build()
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3, betas=(0.9, 0.98))

    def step(number: int, segment: Segment) -> dict[str, Tensor | float]:
        random = generator(seed, _SEED, number)
        wanted = _wanted(random)
        latents = vae.encode(wanted, return_dict=False)[0].mode()
        return _learn(vae, wanted, latents, random, 1e-4 * latents.square().mean())

    return Phase(NAME, {"vae": vae}, [optimizer], step, decay=0.995)


def decoder_phase(folder: Path, seed: int) -> Phase:
    vae = build()
    vae.load_state_dict(averaged(folder, NAME, "vae"))
    vae.encoder.requires_grad_(False)
    optimizer = torch.optim.Adam(vae.decoder.parameters(), lr=1.5e-3, betas=(0.9, 0.98))

    def step(number: int, segment: Segment) -> dict[str, Tensor | float]:
        random = generator(seed, _SEED + 1, number)
        wanted = _wanted(random)
        with torch.no_grad():
            latents = vae.encode(wanted, return_dict=False)[0].mode()
        return _learn(vae, wanted, latents, random, torch.zeros(()))

    return Phase(DECODER, {"decoder": vae.decoder}, [optimizer], step, decay=0.99)


def _wanted(random: torch.Generator) -> Tensor:
    """Whole clips of many lengths, no more than a second and a half long, of some loudness."""
    moves = torch.randint(0, len(MOVES), (_BATCH,), generator=random).tolist()
    length = int(torch.randint(8, 38, (), generator=random))
    return sound.features(moves, length, random) * (0.7 + 0.6 * torch.rand(_BATCH, 1, 1, 1, generator=random))


def _learn(
    vae: Any, wanted: Tensor, latents: Tensor, random: torch.Generator, penalty: Tensor
) -> dict[str, Tensor | float]:
    """Latents are noised a little, because those that the transformer makes are not exact."""
    noisy = latents + 0.02 * torch.randn(latents.shape, generator=random)
    error = (vae.decode(noisy, return_dict=False)[0] - wanted).square()
    tone, noise = error[..., : sound.TONE_BINS].mean(), error[..., sound.TONE_BINS :].mean()
    torch.autograd.backward(tone + _NOISE_WEIGHT * noise + penalty)
    parts = torch.split(wanted, [sound.TONE_BINS, sound.NOISE_BINS], dim=-1)
    powers = [part.square().mean() for part in parts]
    return {"tone_dB": _decibels(powers[0], tone), "noise_dB": _decibels(powers[1], noise)}


def _decibels(signal: Tensor, error: Tensor) -> float:
    return float(10 * torch.log10((signal + 1e-9) / (error.detach() + 1e-9)))
