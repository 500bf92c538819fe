"""Overlapping tiles of a latent canvas, for what would not fit in memory as a whole."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

DECODED_CELLS = 60 * 34
"""Latent rows x columns that the VAE decodes at once: those of 1920x1088, so that only larger frames are tiled."""

OVERLAP = 4
"""Latent rows or columns that neighbours share at least, to cross-fade over 128 pixels. The decoder sees about as far,
so a tile's border is out of sight where the tile weighs most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a canvas is computed at once."""

    decoded_cells: int = DECODED_CELLS
    """Latent rows x columns in a tile of the VAE's decoding."""
    denoised_tokens: int | None = None
    """Video tokens, keyframes included, in a tile of a stage that refines another; ``None``: never tiled."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Rows, or columns, from ``start`` up to ``stop``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the canvas."""

    rows: Span
    columns: Span

    def of(self, canvas: Tensor, scale: int = 1) -> Tensor:
        """The view of this tile in ``canvas`` (..., rows, columns), which has ``scale`` of each for one cell."""
        rows, columns = self.rows, self.columns
        return canvas[..., rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]


def plan_tiles(rows: int, columns: int, *, largest: int, overlap: int = OVERLAP) -> list[Tile]:
    """Tiles of one size, at most ``largest`` cells each, that cover ``rows`` x ``columns`` with the least work.

    Neighbours share at least ``overlap`` rows or columns. A canvas of up to ``largest`` cells is one tile. Raises
    ValueError where no tiles that small share so much.
    """
    if rows * columns <= largest:
        return [Tile(Span(0, rows), Span(0, columns))]
    fitting = [
        (down, across)
        for down, across in product(_cuts(rows, overlap), _cuts(columns, overlap))
        if len(down[0]) * len(across[0]) <= largest
    ]
    if not fitting:
        raise ValueError(f"no tiles of at most {largest} cells share {overlap} rows and columns of {rows}x{columns}")
    down, across = min(fitting, key=_work)
    return [Tile(*spans) for spans in product(down, across)]


def _work(cut: tuple[list[Span], list[Span]]) -> tuple[int, int, int]:
    """Cells that are computed; of equals the fewer tiles, then the squarer ones."""
    down, across = cut
    tiles, height, width = len(down) * len(across), len(down[0]), len(across[0])
    return tiles * height * width, tiles, abs(height - width)


def _cuts(length: int, overlap: int) -> list[list[Span]]:
    return [spans(length, count, overlap) for count in range(1, max(1, length - overlap) + 1)]


def spans(length: int, count: int, overlap: int) -> list[Span]:
    """``count`` spans of one size, evenly over ``length``; neighbours share at least ``overlap``.

    ``count`` is 1 or at most ``length - overlap``.
    """
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [index * (length - size) // max(1, count - 1) for index in range(count)]
    return [Span(start, start + size) for start in starts]


class Blend:
    """The weighted mean of tiles, up to date as they arrive.

    A tile's weight falls off linearly where another one overlaps it, so that two neighbours cross-fade. One tile alone
    stays as it is, bit for bit. Beside the result this holds one fp32 weight for each of its pixels.
    """

    def __init__(self, tiles: Iterable[Tile], scale: int = 1) -> None:
        """``scale``: rows and columns of the result for each cell of the tiles."""
        tiles, self._scale = list(tiles), scale
        self._rows = _fades((tile.rows for tile in tiles), scale)
        self._columns = _fades((tile.columns for tile in tiles), scale)
        self._result: Tensor | None = None

    @property
    def result(self) -> Tensor:
        """(..., rows, columns) once every tile has been added."""
        if self._result is None:
            raise ValueError("no tile was added")
        return self._result

    def add(self, tile: Tile, part: Tensor) -> None:
        """``part`` is (..., rows, columns) of ``tile``."""
        if self._result is None:
            canvas = max(self._rows).stop * self._scale, max(self._columns).stop * self._scale
            self._result = part.new_zeros(*part.shape[:-2], *canvas)
            self._total = torch.zeros(canvas, device=part.device)
        weight = (self._rows[tile.rows][:, None] * self._columns[tile.columns]).to(part.device)
        total = tile.of(self._total, self._scale)
        total += weight
        # A running mean rather than a sum: in half precision each step is rounded at the size of the result itself.
        tile.of(self._result, self._scale).lerp_(part, (weight / total).to(part.dtype))


def _fades(spans: Iterable[Span], scale: int) -> dict[Span, Tensor]:
    """Each span's weights: 1, but rising from 0 and falling to 0 where it meets its neighbours."""
    ordered = sorted(set(spans))
    weights = {span: torch.ones(len(span) * scale) for span in ordered}
    for before, after in pairwise(ordered):
        shared = (before.stop - after.start) * scale
        rising = torch.arange(1, shared + 1) / (shared + 1)
        weights[after][:shared].clamp_(max=rising)
        weights[before][len(weights[before]) - shared :].clamp_(max=rising.flip(0))
    return weights
