"""Latents to pictures and sound."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from stillmotion.engine.conditioning import channelwise
from stillmotion.engine.tiling import DECODED_CELLS, Blend, Tile, plan_tiles

TILE = 16
"""Latent frames that the VAE decodes at once: 121 frames, so the common lengths come out whole and exact."""

OVERLAP = 4
"""Latent frames that neighbouring tiles share, to cross-fade over 25 frames: the decoder looks both ways in time."""

_CHUNK = 8
"""Frames handed on at a time: bounds what later conversions hold in fp32 (a 1080p frame is 25 MB)."""


def decode_video(
    vae: Any, latents: Tensor, *, tile: int = TILE, overlap: int = OVERLAP, cells: int = DECODED_CELLS
) -> Iterator[Tensor]:
    """Frames in fp32, 0..1, as chunks (at most 8, 3, height, width), later tiles decoded when they are asked for.

    ``latents``: normalised, (1, channels, latent frames, rows, columns). One tile is exactly the VAE's own decoding.
    Longer clips are decoded in tiles of ``tile`` latent frames that cross-fade where they overlap, and frames of more
    than ``cells`` latent rows x columns in tiles of those, which bounds the memory but is an approximation: see
    ``temporal_tiles`` and ``tiling.plan_tiles``. At most one tile is decoded at a time, beside the frames that it and
    its neighbours make up.
    """
    latents = latents * channelwise(vae.latents_std, latents) + channelwise(vae.latents_mean, latents)
    canvas = plan_tiles(*latents.shape[3:], largest=cells)
    tiles = temporal_tiles(latents.shape[2], tile, overlap)
    tail: Tensor | None = None
    for index, (start, stop) in enumerate(tiles):
        frames = _decode(vae, latents[:, :, start:stop].to(vae.dtype), canvas)
        if tail is not None:
            _cross_fade(tail, frames)
        if index + 1 < len(tiles):
            settled = (tiles[index + 1][0] - start) * vae.temporal_compression_ratio
            frames, tail = frames[:settled], frames[settled:].clone()
        for chunk in torch.split(frames, _CHUNK):
            yield chunk.float() / 2 + 0.5
        del frames, chunk  # before the next tile is decoded: the tail is a copy


def _decode(vae: Any, latents: Tensor, tiles: list[Tile]) -> Tensor:
    """Frames (frames, 3, height, width) of -1..1 of un-normalised latents, tile by tile."""
    if len(tiles) == 1:
        return _frames(vae, latents)
    blend = Blend(tiles, vae.spatial_compression_ratio)
    for tile in tiles:
        blend.add(tile, _frames(vae, tile.of(latents)))
    return blend.result


def _frames(vae: Any, latents: Tensor) -> Tensor:
    decoded: Tensor = vae.decode(latents, return_dict=False)[0][0]
    return decoded.transpose(0, 1)


def temporal_tiles(frames: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """``(start, stop)`` of each tile over ``frames`` latent frames; neighbours share ``overlap`` of them.

    A latent frame stands for 8 pictures, the first for one. A tile's first latent frame is decoded as if the video
    began there, so it gives one picture (pixel frame ``8 * start``) of lesser quality: the cross-fade starts on it
    with weight 0.
    """
    if not 1 <= overlap < tile:
        raise ValueError(f"an overlap of {overlap} does not fit tiles of {tile}")
    starts = range(0, max(frames - overlap, 1), tile - overlap)
    return [(start, min(start + tile, frames)) for start in starts]


def _cross_fade(tail: Tensor, frames: Tensor) -> None:
    """Lets the first of ``frames`` fade in, linearly from weight 0 to 1, over the ``tail`` of the tile before."""
    weight = torch.linspace(0, 1, len(tail), device=frames.device, dtype=torch.float32).view(-1, 1, 1, 1)
    for start in range(0, len(tail), _CHUNK):  # fp32 for a few at a time
        these = slice(start, min(start + _CHUNK, len(tail)))
        frames[these] = torch.lerp(tail[these].float(), frames[these].float(), weight[these]).to(frames.dtype)


def decode_audio(audio_vae: Any, vocoder: Any, latents: Tensor, *, seconds: float) -> npt.NDArray[np.float32]:
    """Sound as (channels, samples), -1..1, of exactly ``round(seconds * rate)`` samples at the vocoder's rate.

    ``latents``: normalised tokens (1, audio frames, channels * mel bins). The causal audio VAE gives 4 n - 3 spectrum
    frames of 10 ms for n latents, so even matching latents end up to 50 ms early; the rest is silence.
    """
    latents = latents * audio_vae.latents_std.to(latents) + audio_vae.latents_mean.to(latents)
    bins = audio_vae.config.mel_bins // audio_vae.mel_compression_ratio
    spectrum = latents.view(*latents.shape[:2], -1, bins).transpose(1, 2).to(audio_vae.dtype)
    wave = vocoder(audio_vae.decode(spectrum, return_dict=False)[0])[0].float()
    samples = round(seconds * vocoder.config.output_sampling_rate)
    wave = functional.pad(wave, (0, samples - wave.shape[1]))  # a negative pad cuts
    return wave.clamp(-1, 1).cpu().numpy()
