"""The training clips: rendered once, kept as latents, in one file for each size and kind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from training.nano import checkpoint, moves
from training.nano.blocks import SPATIAL, TEMPORAL, Analyser
from training.nano.loop import generator
from training.nano.moves import MOVES, SPEEDS
from training.nano.video_training import load_pictures

Kind = Literal["plain", "dissolve", "arriving"]
"""A move from a picture; from one to another; a move that ends at a picture."""

_SEED = 10_000_000
_CRFS = (0, 20, 33)
"""What start images may have been through: the bundle's own quality, a better and a worse one."""

_IN_TURN = torch.tensor([*range(len(MOVES)), MOVES.index("static")])
"""Moves of successive clips. Static comes twice: every prompt without a camera word asks for it."""

_OFTEN = torch.tensor([2.5, 2.5, 1.0, 1.0, 1.0, 1.0, 0.6])
"""How often a clip of each move is trained with. Dolly in and out come last by far: attention knows distances only, and
what a zoom does to a place depends on where that is. Half of the steps' work goes to them."""

_AT_ONCE = 12


@dataclass(frozen=True, slots=True)
class Bucket:
    """``count`` clips of one size; ``mixes`` says in which curricula they are, and how often among the others."""

    width: int
    height: int
    frames: int
    count: int
    small: float = 0
    medium: float = 0
    full: float = 0
    kind: Kind = "plain"

    @property
    def name(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}-{self.kind}"

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, rows, columns."""
        return (self.frames - 1) // TEMPORAL + 1, self.height // SPATIAL, self.width // SPATIAL

    @property
    def tokens(self) -> int:
        """Of one clip, with the end image's."""
        frames, rows, columns = self.grid
        return (frames + (self.kind != "plain")) * rows * columns

    def weight(self, mix: str) -> float:
        return float(getattr(self, mix))


BUCKETS = (
    Bucket(96, 96, 25, 2600, small=60, medium=12, full=4),
    Bucket(128, 128, 25, 1400, small=22, medium=25, full=10),
    Bucket(96, 96, 25, 240, small=5, medium=3, full=1, kind="dissolve"),
    Bucket(128, 96, 17, 240, small=4, medium=2, full=1),
    Bucket(96, 128, 9, 240, small=4, medium=2, full=1),
    Bucket(112, 112, 33, 240, small=5, medium=2, full=1),
    Bucket(96, 96, 25, 120, small=1, medium=1, full=0.5, kind="arriving"),
    Bucket(160, 160, 25, 500, medium=25, full=10),
    Bucket(192, 128, 25, 240, medium=8, full=4),
    Bucket(128, 192, 25, 240, medium=8, full=4),
    Bucket(144, 144, 25, 160, medium=5, full=3, kind="dissolve"),
    Bucket(128, 128, 49, 120, medium=3, full=2),
    Bucket(192, 192, 25, 360, medium=6, full=14),
    Bucket(256, 256, 25, 330, full=22),
    Bucket(320, 192, 25, 130, full=7),
    Bucket(192, 320, 25, 130, full=7),
    Bucket(256, 256, 25, 70, full=4, kind="dissolve"),
    Bucket(192, 192, 25, 50, full=1, kind="arriving"),
    Bucket(256, 384, 25, 40, full=2),
    Bucket(384, 256, 25, 40, full=2),
    Bucket(320, 320, 17, 40, full=1.5),
    Bucket(384, 384, 9, 40, full=1),
    Bucket(256, 256, 49, 30, full=1),
    Bucket(96, 96, 97, 60, full=1),
)
SMOKE_BUCKETS = (
    Bucket(48, 48, 9, 12, small=3, medium=1, full=1),
    Bucket(64, 48, 17, 12, full=1),
    Bucket(48, 48, 9, 12, small=1, full=1, kind="dissolve"),
    Bucket(48, 48, 9, 12, full=1, kind="arriving"),
)


def prepare(
    folder: Path, buckets: Sequence[Bucket], analyser: Analyser, seed: int, tell: Callable[[str], None]
) -> Iterator[Bucket]:
    """Renders what is not there yet, one file at a time; yields each bucket when its file is whole."""
    for index, bucket in enumerate(buckets):
        path = _path(folder, bucket)
        if not path.exists():
            tell(f"rendering {bucket.count} clips {bucket.name}")
            checkpoint.save(path, _render(bucket, analyser, (seed, _SEED, index)))
        yield bucket


def _path(folder: Path, bucket: Bucket) -> Path:
    return folder / "clips" / f"{bucket.name}.pt"


def _render(bucket: Bucket, analyser: Analyser, seed: tuple[int, ...]) -> dict[str, Tensor]:
    random = generator(*seed)
    parts: dict[str, list[Tensor]] = {"latents": [], "ends": [], "moves": [], "speeds": []}
    for start in range(0, bucket.count, _AT_ONCE):
        count = min(_AT_ONCE, bucket.count - start)
        chosen = _IN_TURN[torch.arange(start, start + count) % len(_IN_TURN)]
        speeds = torch.multinomial(torch.tensor([1.0, 2.0, 1.0]), count, replacement=True, generator=random)
        speeds[chosen == MOVES.index("static")] = list(SPEEDS).index("normal")
        crf = _CRFS[int(torch.randint(0, len(_CRFS), (), generator=random))]
        clip, ends = _clip(bucket, chosen.tolist(), speeds, (*seed, start), crf)
        parts["latents"].append(analyser(clip).half())
        if ends is not None:
            parts["ends"].append(analyser(ends[:, :, None]).half())
        parts["moves"].append(chosen)
        parts["speeds"].append(speeds)
    return {name: torch.cat(tensors) for name, tensors in parts.items() if tensors}


def _clip(
    bucket: Bucket, chosen: list[int], speeds: Tensor, seed: tuple[int, ...], crf: int
) -> tuple[Tensor, Tensor | None]:
    """The clips, and the pictures that they end at where those are given.

    A picture makes two clips: drawing one takes a quarter of the time of warping it.
    """
    factors = torch.tensor(list(SPEEDS.values()))[speeds]

    def pictures(kind: int) -> Tensor:
        few = load_pictures(
            [(*seed, kind, number) for number in range((len(chosen) + 1) // 2)], bucket.width, bucket.height, crf
        )
        return few.repeat(2, 1, 1, 1)[: len(chosen)]

    first = pictures(0)
    if bucket.kind == "plain":
        return moves.clip(first, chosen, factors, bucket.frames), None
    if bucket.kind == "arriving":
        return moves.arriving(first, chosen, factors, bucket.frames), first
    last = pictures(1)
    return moves.dissolve(first, last, chosen, factors, bucket.frames), last


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips of one bucket, as the transformer sees them."""

    bucket: Bucket
    latents: Tensor
    """(clips, tokens, 128): the grid's tokens, then the end image's where there is one."""
    moves: Tensor
    speeds: Tensor


class Store:
    """The files of a run, read as they are needed; the same number gives the same batch.

    A slice trains on the files that are there when it begins: training may start while larger clips are rendered.
    """

    def __init__(self, folder: Path, buckets: Sequence[Bucket], seed: int, tokens: int) -> None:
        self._folder, self._seed, self._tokens = folder, seed, tokens
        self._buckets = [bucket for bucket in buckets if _path(folder, bucket).exists()]
        self._files: dict[str, Any] = {}

    def batch(self, mix: str, number: int) -> Batch:
        random = generator(self._seed, _SEED + 1, number)
        weights = torch.tensor([bucket.weight(mix) for bucket in self._buckets])
        bucket = self._buckets[int(torch.multinomial(weights, 1, generator=random))]
        count = max(2, round(self._tokens / bucket.tokens))
        often = _OFTEN[self._file(bucket)["moves"]]
        return self.read(bucket, torch.multinomial(often, count, replacement=True, generator=random))

    def where(self, bucket: Bucket, move: int, speed: int) -> Tensor:
        """Indices of the clips that move so; all that move so at any speed where none has this one."""
        file = self._file(bucket)
        moving = file["moves"] == move
        exact = (moving & (file["speeds"] == speed)).nonzero()[:, 0]
        found: Tensor = exact if len(exact) else moving.nonzero()[:, 0]
        return found

    def read(self, bucket: Bucket, indices: Tensor) -> Batch:
        file = self._file(bucket)
        latents = file["latents"][indices].float()
        if "ends" in file:
            latents = torch.cat((latents, file["ends"][indices].float()), dim=2)
        return Batch(bucket, latents.flatten(2).transpose(1, 2), file["moves"][indices], file["speeds"][indices])

    def _file(self, bucket: Bucket) -> Any:
        if bucket.name not in self._files:
            path = _path(self._folder, bucket)
            self._files[bucket.name] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return self._files[bucket.name]
