"""Denoising a canvas in tiles: for stages that refine, whose layout is settled by the stage before."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from stillmotion.engine.conditioning import Conditioning, pack, unpack
from stillmotion.engine.grid import Grid
from stillmotion.engine.sampler import Denoise, State
from stillmotion.engine.tiling import Blend, Tile


def cut(held: Conditioning, grid: Grid, tile: Tile) -> Conditioning:
    """What of ``held`` lies in ``tile``: of every latent frame of the grid, and of every keyframe's tokens.

    Places stay those on the whole canvas.
    """
    frames = held.mask.shape[1] // (grid.rows * grid.columns)
    coords = held.coords.movedim(-1, 2).reshape(1, 3, 2, frames, grid.rows, grid.columns)
    return replace(
        held,
        mask=pack(tile.of(unpack(held.mask, frames, grid.rows, grid.columns))),
        clean=pack(tile.of(unpack(held.clean, frames, grid.rows, grid.columns))),
        coords=tile.of(coords).movedim(2, -1).flatten(2, 4),
    )


class TiledDenoiser:
    """The clean estimates of each tile, blended, and the mean of their sounds; a ``sampler.Denoise``.

    ``build`` makes the tile's own denoiser from what is held in it. Each tile attends to itself alone (and to the
    whole sound), and guidance rescales by the spread of the tile.
    """

    def __init__(
        self, tiles: Sequence[Tile], grid: Grid, held: Conditioning, build: Callable[[Conditioning], Denoise]
    ) -> None:
        self._grid = grid
        self._tiles = [(tile, build(cut(held, grid, tile))) for tile in tiles]

    def __call__(self, state: State, sigma: float) -> State:
        rows, columns = self._grid.rows, self._grid.columns
        frames = state.video.shape[1] // (rows * columns)
        video, blend, sounds = unpack(state.video, frames, rows, columns), Blend(tile for tile, _ in self._tiles), []
        for tile, denoise in self._tiles:
            clean = denoise(State(pack(tile.of(video)), state.audio), sigma)
            blend.add(tile, unpack(clean.video, frames, len(tile.rows), len(tile.columns)))
            sounds.append(clean.audio)
        return State(pack(blend.result), torch.stack(sounds).mean(0))
