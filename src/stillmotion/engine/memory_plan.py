"""What fits where: how much memory each phase of the work takes, and where the weights are meanwhile.

The work is a sequence of phases, each with a few networks. Three levels of residency:

- ``resident``: all networks are on the device all the time.
- ``swapped``: they live on the host; those of a phase come to the device, others leave where their place is wanted.
- ``streamed``: the blocks of the transformer, and of the text encoder, come one by one while those before compute.

The first level at which every phase fits is chosen. Where none does exactly, canvases of refining stages and of
decoding are cut into tiles, which changes the result a little (tiling.py). A plan is a value; it depends on its
arguments alone.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, get_args

from stillmotion.engine import activations
from stillmotion.engine.activations import MARGIN, Tokens
from stillmotion.engine.decode import OVERLAP, TILE
from stillmotion.engine.footprint import STREAMED, Footprint, upsampler_name
from stillmotion.engine.tiling import Limits, Span, Tile, plan_tiles
from stillmotion.engine.workload import StageSize, Workload
from stillmotion.errors import OutOfMemory

Level = Literal["resident", "swapped", "streamed"]
Memory = Literal["auto", "resident", "swapped", "streamed"]
"""A level, or ``auto``: the first at which everything fits."""

LEVELS: tuple[Level, ...] = get_args(Level)

_BATCHED_TOKENS = 4096
"""Up to here the denoiser may batch its passes unless it is told not to."""

_LONGEST = 160
"""Rows or columns of a canvas for which tiles are sought, 5120 pixels: to choose takes time with the square."""

_PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Of a canvas, one tile's share. Tiles of the last are hardly more than their overlap at 2160p."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that may be used."""

    device: int
    host: int | None = None
    """For weights that are off the device; ``None``: as much as there is, or the device's memory is the host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the work, with the networks that it needs on the device and the bytes of its activations."""

    name: str
    networks: tuple[str, ...]
    activations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChoice:
    """How one stage is denoised so that it fits."""

    batched: bool
    """Whether its passes may be one batch."""
    text_keys: bool
    """Whether keys and values of the texts are kept."""
    denoised_tokens: int | None
    """Of a tile; ``None``: the whole canvas."""
    preview: int = 0
    """Bytes that a preview picture takes beyond those of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    level: Level
    room: Room
    footprint: Footprint
    phases: tuple[Phase, ...]
    stages: tuple[StageChoice, ...]
    decoded_cells: int

    def phase(self, name: str) -> Phase:
        return next(phase for phase in self.phases if phase.name == name)

    def previewed(self, stage: int) -> Phase | None:
        """The denoising of ``stage`` (0 is the first) with the VAE beside the transformer, for preview pictures.

        None: there is no room for it, or only in place of blocks that would then come anew in every step.
        """
        phase = self.phase(f"denoise {stage + 1}")
        both = replace(
            phase, networks=(*phase.networks, "vae"), activations=phase.activations + self.stages[stage].preview
        )
        fits = self.level != "streamed" and self.weights(both) + both.activations <= self.room.device
        return both if fits else None

    def weights(self, phase: Phase) -> int:
        """Bytes of weights that are on the device in ``phase`` at least."""
        return weights(self.footprint, phase.networks, self.level)

    @property
    def peak(self) -> int:
        """Bytes that are needed on the device."""
        return max(self.weights(phase) + phase.activations for phase in self.phases)

    @property
    def spare(self) -> int:
        """Bytes of the device that are left for another set of merged weights."""
        return max(0, self.room.device - self.peak)

    @property
    def limits(self) -> Limits:
        tokens = [stage.denoised_tokens for stage in self.stages if stage.denoised_tokens is not None]
        return Limits(decoded_cells=self.decoded_cells, denoised_tokens=min(tokens, default=None))

    def table(self) -> list[str]:
        """The plan to be read, a line each."""
        host = "" if self.room.host is None else f", {shown(self.room.host)} on the host"
        lines = [
            f"memory: {self.footprint.name} is {self.level}; {shown(self.footprint.size)} of weights, "
            f"{shown(self.room.device)} to use on the device{host}",
            f"memory: {'phase':<16}{'weights':>12}{'work':>12}{'together':>12}",
        ]
        for phase in self.phases:
            weights = self.weights(phase)
            cells = (weights, phase.activations, weights + phase.activations)
            lines.append(f"memory: {phase.name:<16}" + "".join(f"{shown(cell):>12}" for cell in cells))
        return lines


def shown(size: int) -> str:
    """``size`` to be read; what is less than a GiB in MiB."""
    if size < 2**30:
        return f"{size / 2**20:.0f} MiB"
    return f"{size / 2**30:.2f} GiB" if size < 100 * 2**30 else f"{size / 2**30:.1f} GiB"


def weights(footprint: Footprint, networks: Sequence[str], level: Level) -> int:
    """Bytes of weights on the device while ``networks`` are wanted: at least, where blocks are streamed."""
    if level == "resident":
        return footprint.size
    return sum(_least(footprint, name, level) for name in networks)


def _least(footprint: Footprint, name: str, level: Level) -> int:
    network = footprint.networks[name]
    if level != "streamed" or name not in STREAMED or not network.blocks:
        return network.size
    # The block that computes and the one that comes.
    return network.kept + min(2 * max(network.blocks), sum(network.blocks))


def make_plan(
    footprint: Footprint,
    work: Workload,
    room: Room,
    *,
    memory: Memory = "auto",
    limits: Limits,
    streamable: bool = True,
) -> Plan:
    """How ``work`` fits into ``room``. Raises OutOfMemory, with numbers and what would help, where it does not.

    ``limits``: what is tiled in any case. ``streamable``: false for compiled blocks, which must stay where they are.
    """
    levels = [level for level in LEVELS if memory in ("auto", level) and (streamable or level != "streamed")]
    possible = [level for level in levels if level == "resident" or _host_holds(footprint, room)]
    tilings = _Tilings()

    def fitted(level: Level, *, tiled: bool) -> Plan:
        return _Fitter(footprint, work, room, level, limits, tilings, tiled=tiled).plan()

    for tiled in (False, True):
        for level in possible:
            plan = fitted(level, tiled=tiled)
            if plan.peak <= room.device:
                return plan
    raise _shortage(footprint, room, [fitted(level, tiled=True) for level in levels])


def _host_holds(footprint: Footprint, room: Room) -> bool:
    return room.host is None or footprint.size <= room.host


@dataclass(frozen=True, slots=True)
class _Fitted:
    choice: StageChoice
    tokens: Tokens
    activations: int


class _Fitter:
    """Makes the plan at ``level`` that gives up least of what its phases want; it may not fit all the same.

    ``tiled``: canvases may be cut into tiles.
    """

    def __init__(
        self,
        footprint: Footprint,
        work: Workload,
        room: Room,
        level: Level,
        limits: Limits,
        tilings: "_Tilings",
        *,
        tiled: bool,
    ) -> None:
        self._footprint, self._work, self._room, self._level = footprint, work, room, level
        self._limits, self._tilings, self._tiled = limits, tilings, tiled
        self._widths = footprint.widths

    def plan(self) -> Plan:
        fitted = [self._denoising(stage) for stage in self._work.stages]
        cells, decoding = self._decoding(self._work.stages[-1])
        return Plan(
            level=self._level,
            room=self._room,
            footprint=self._footprint,
            phases=tuple(self._phases(fitted, decoding)),
            stages=tuple(
                replace(each.choice, preview=self._preview(stage, each.tokens, cells))
                for stage, each in zip(self._work.stages, fitted, strict=True)
            ),
            decoded_cells=cells,
        )

    def _phases(self, fitted: Sequence[_Fitted], decoding: int) -> Iterator[Phase]:
        widths, work = self._widths, self._work
        yield _phase("text", ("text_encoder", "connectors"), activations.reading(widths))
        largest = max(stage.pixels for stage in work.stages)
        yield _phase("image", ("vae",), activations.encoding(widths, largest) if work.pictures else 0)
        for index, (stage, each) in enumerate(zip(work.stages, fitted, strict=True), start=1):
            if stage.start is not None:
                cells = stage.frames * stage.rows * stage.columns
                names = (upsampler_name(stage.start), "vae")
                yield _phase(f"upsample {index}", names, activations.upsampling(widths, cells))
            yield Phase(name=f"denoise {index}", networks=("transformer",), activations=each.activations)
        yield Phase(name="decode video", networks=("vae",), activations=decoding)
        if work.seconds:
            yield _phase("decode audio", ("audio_vae", "vocoder"), activations.sounding(widths, work.seconds))

    def _left(self, *networks: str) -> int:
        """Bytes of the device that are left beside ``networks``."""
        return self._room.device - weights(self._footprint, networks, self._level)

    def _denoising(self, stage: StageSize) -> _Fitted:
        """What is exact first: a batch, then single passes, then without the texts' keys; tiles at last."""
        left, tokens = self._left("transformer"), stage.tokens()
        most = self._limits.denoised_tokens
        if stage.start is not None and most is not None and tokens.video > most:
            return self._tile(stage, most)
        fitted = [
            self._stage(stage, tokens, batched=batched, text_keys=text_keys)
            for batched, text_keys in ((True, True), (False, True), (False, False))
        ]
        fits = next((each for each in fitted if each.activations <= left), None)
        if fits is not None:
            return fits
        if not self._tiled or stage.start is None:
            return fitted[-1]
        cells = self._tilings.largest(
            stage, lambda cells: self._tile(stage, cells * stage.latent_frames).activations <= left
        )
        return self._tile(stage, cells * stage.latent_frames)

    def _tile(self, stage: StageSize, tokens: int) -> _Fitted:
        """On tiles of up to ``tokens``."""
        sizes = [len(tile.rows) * len(tile.columns) for tile in self._tilings.of(stage, tokens // stage.latent_frames)]
        each, left = stage.tokens(max(sizes), sum(sizes)), self._left("transformer")
        fitted = self._stage(stage, each, batched=True, text_keys=False)
        if fitted.activations > left:
            fitted = self._stage(stage, each, batched=False, text_keys=False)
        return replace(fitted, choice=replace(fitted.choice, denoised_tokens=tokens))

    def _stage(self, stage: StageSize, tokens: Tokens, *, batched: bool, text_keys: bool) -> _Fitted:
        size = activations.denoising(
            self._widths,
            tokens,
            stage.passes,
            batched=batched and tokens.video <= _BATCHED_TOKENS,
            text_keys=text_keys,
            cached=stage.cached,
        )
        choice = StageChoice(batched=batched, text_keys=text_keys, denoised_tokens=None)
        return _Fitted(choice, tokens, int(MARGIN * size))

    def _preview(self, stage: StageSize, tokens: Tokens, cells: int) -> int:
        tile = self._tilings.of(stage, cells)[0]
        return int(
            MARGIN * activations.previewing(self._widths, tokens, len(tile.rows) * len(tile.columns), stage.pixels)
        )

    def _decoding(self, stage: StageSize) -> tuple[int, int]:
        """Cells of a tile, and the bytes that decoding takes with them."""
        left, cells = self._left("vae"), self._limits.decoded_cells
        if self._tiled and self._decoded(stage, cells) > left:
            cells = min(cells, self._tilings.largest(stage, lambda each: self._decoded(stage, each) <= left))
        return cells, self._decoded(stage, cells)

    def _decoded(self, stage: StageSize, cells: int) -> int:
        widths, pixels = self._widths, max(stage.pixels, self._work.pixels)
        tiles = self._tilings.of(stage, cells)
        frames = min(stage.frames, TILE)
        whole = activations.pictures(widths, stage.pixels, frames * widths.frame_ratio)
        tail = activations.pictures(widths, stage.pixels, (OVERLAP if stage.frames > TILE else 0) * widths.frame_ratio)
        tile = activations.decoding(widths, len(tiles[0].rows) * len(tiles[0].columns), frames)
        beside = whole if len(tiles) > 1 else 0
        return int(MARGIN * (tail + max(tile + beside, whole + activations.converting(pixels))))


def _phase(name: str, networks: tuple[str, ...], size: int) -> Phase:
    return Phase(name=name, networks=networks, activations=int(MARGIN * size))


class _Tilings:
    """Tiles of canvases, found once: to choose among those of 2160p takes a tenth of a second."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], list[Tile] | None] = {}

    def of(self, stage: StageSize, cells: int) -> list[Tile]:
        """Those of ``cells``; the whole canvas where there are none so small, which whoever computes on them tells."""
        return self._find(stage, cells) or [Tile(Span(0, stage.rows), Span(0, stage.columns))]

    def largest(self, stage: StageSize, fits: Callable[[int], bool]) -> int:
        """The most cells that fit, or the fewest that tiles can have."""
        whole = stage.rows * stage.columns
        possible = [whole // parts for parts in _PARTS if parts == 1 or self._find(stage, whole // parts)]
        return possible[min(bisect_left(possible, True, key=fits), len(possible) - 1)]

    def _find(self, stage: StageSize, cells: int) -> list[Tile] | None:
        key = stage.rows, stage.columns, cells
        if key not in self._known:
            self._known[key] = None
            if max(key[:2]) <= _LONGEST:
                with suppress(ValueError):
                    self._known[key] = plan_tiles(*key[:2], largest=cells)
        return self._known[key]


def _shortage(footprint: Footprint, room: Room, plans: Sequence[Plan]) -> OutOfMemory:
    """The least that would do, and what is too large about it."""
    least = min(plans, key=lambda plan: plan.peak)
    worst = max(least.phases, key=lambda phase: least.weights(phase) + phase.activations)
    missing = least.peak - room.device
    if missing > 0:
        small = least.weights(worst) < room.device / 2
        helps = "fewer frames or a smaller size" if small else "weights of 8 bits or a device with more memory"
        return OutOfMemory(
            f"{missing / 2**30:.2f} GiB more were needed: {worst.name} needs at least {shown(least.peak)}, "
            f"{shown(least.weights(worst))} of them for weights ({least.level}), and {shown(room.device)} can be used. "
            f"What would help: {helps}"
        )
    host = room.host or 0
    return OutOfMemory(
        f"{(footprint.size - host) / 2**30:.2f} GiB more were needed on the host: {footprint.name} does not fit the "
        f"device as a whole ({shown(room.device)} can be used), and its {shown(footprint.size)} of weights do not fit "
        f"the {shown(host)} of host memory that are free. What would help: more of either, or weights of 8 bits"
    )
