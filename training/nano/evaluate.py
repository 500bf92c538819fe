"""Measures a run through the engine, as a server would use it, on what was held out; writes tables and pictures."""

import json
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillmotion.engine.conditioning import fit
from stillmotion.engine.engine import Engine, Generation
from stillmotion.job import Job, Keyframe, Lora, Stage
from stillmotion.media.recompress import recompress
from training.nano import export, held_out, measure, sheets, sound
from training.nano.moves import MOVES
from training.nano.pictures import Bytes
from training.nano.report import Figure, markdown
from training.nano.run_folder import RunFolder

FPS, STEPS = 25.0, 8
NEUTRAL = ("A quiet picture", "two people near a house", "an old table with things on it", "")
"""Prompts without a camera word, for the LoRAs."""

_SIZES = ((128, 128), (192, 192), (320, 320), (256, 384), (384, 256))
_LORA_SIDE = 128


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is measured: pictures for the main size, for each other size, and for the LoRAs."""

    side: int = 256
    pictures: int = 12
    elsewhere: int = 4
    sizes: tuple[tuple[int, int], ...] = _SIZES
    for_loras: int = 6
    frames: int = 25


QUICK = Scope(side=128, pictures=3, elsewhere=1, sizes=(), for_loras=1)


@dataclass(frozen=True, slots=True)
class Shown:
    """One generated clip beside what it should be."""

    move: str
    clip: Tensor
    truth: Tensor
    """All seven true warps of the picture."""
    picture: Tensor
    wave: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def obeyed(self) -> bool:
        return self.nearest == self.move

    @property
    def nearest(self) -> str:
        return MOVES[measure.nearest(self.clip, self.truth)]

    @property
    def true_psnr(self) -> float:
        return measure.psnr(self.clip, self.truth[MOVES.index(self.move)])


class Studio:
    """The exported bundle, and clips made with it."""

    def __init__(self, bundle: Path, frames: int) -> None:
        self.frames = frames
        self.engine = Engine.load(bundle, device="cpu", dtype="float32")
        self.rate = 0

    def make(
        self,
        images: Sequence[Bytes],
        prompt: str,
        seed: int,
        size: tuple[int, int],
        *,
        loras: tuple[Lora, ...] = (),
        steps: int = STEPS,
    ) -> tuple[Tensor, Generation]:
        """A clip that starts at the first image and, if there is a second, ends at it."""
        width, height = size
        names = ("image_url", "end_image_url")[: len(images)]
        frames = (0, self.frames - 1)
        job = Job(
            model="nano",
            prompt=prompt,
            negative_prompt="",
            width=width,
            height=height,
            num_frames=self.frames,
            fps=FPS,
            seed=seed,
            audio=True,
            keyframes=tuple(Keyframe(image=n, frame=f) for n, f in zip(names, frames, strict=False)),
            stages=(Stage(width=width, height=height, num_frames=self.frames, fps=FPS, steps=steps, loras=loras),),
        )
        pictures = {name: recompress(image, export.IMAGE_CRF) for name, image in zip(names, images, strict=True)}
        generation = self.engine.generate(job, pictures, on_progress=lambda _: None, should_stop=lambda: False)
        clip = measure.to_rgb(np.concatenate(list(generation.frames)))
        self.rate = generation.sample_rate
        return clip, generation

    def show(self, image: Bytes, move: str, prompt: str, seed: int, size: tuple[int, int], **how: Any) -> Shown:
        clip, generation = self.make([image], prompt, seed, size, **how)
        picture = fit(image, *size)
        wave = generation.audio if generation.audio is not None else np.zeros((2, 1), np.float32)
        return Shown(move, clip, measure.true_clips(picture, self.frames), picture, wave)


def evaluate(run: RunFolder, out: Path, tell: Callable[[str], None], scope: Scope) -> list[Figure]:
    """Writes ``evaluation.json``, ``evaluation.md``, contact sheets and curves to ``out``; returns the figures."""
    out.mkdir(parents=True, exist_ok=True)
    for log in run.path.glob("*.jsonl"):
        if log.stat().st_size:
            sheets.curves(out / f"curve-{log.stem}.png", log)
    bundle = out / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    export.export(run, bundle)
    studio, photographs = Studio(bundle, scope.frames), held_out.pictures()
    figures, confusion = [], dict[str, dict[str, int]]()
    for part in (_main, _elsewhere, _ends, _seeds, _loras, _cost):
        tell(f"measuring{part.__name__.replace('_', ' ')}")
        figures += part(studio, photographs, scope, out, confusion)
        _write(out, figures, confusion)
    figures.append(Figure.most("size of the bundle", export.size(bundle) / 1e6, "MB", 40))
    _write(out, figures, confusion)
    return figures


Photographs = dict[str, Bytes]
Confusion = dict[str, dict[str, int]]


def _asked(photographs: Photographs, count: int) -> Iterator[tuple[str, str, Bytes, str, int]]:
    """Move, picture's name, picture, prompt and seed; prompts and seeds take turns."""
    prompts = held_out.phrasings()
    # Photographs and drawn pictures alternate, so that a few are some of both.
    names = [name for pair in zip(*_halves(list(photographs)), strict=True) for name in pair][:count]
    for move in MOVES:
        for index, name in enumerate(names):
            seed = held_out.SEEDS[index % len(held_out.SEEDS)]
            yield move, name, photographs[name], prompts[move][index % len(prompts[move])], seed


def _halves(names: list[str]) -> tuple[list[str], list[str]]:
    return names[: len(names) // 2], names[len(names) // 2 :]


def _main(studio: Studio, photographs: Photographs, scope: Scope, out: Path, confusion: Confusion) -> list[Figure]:
    size = (scope.side, scope.side)
    label = f"{size[0]}x{size[1]}x{scope.frames}"
    shown: list[Shown] = []
    for move, name, image, prompt, seed in _asked(photographs, scope.pictures):
        made = studio.show(image, move, prompt, seed, size)
        row = confusion.setdefault(move, dict.fromkeys(MOVES, 0))
        row[made.nearest] += 1
        shown.append(made)
        if sum(each.move == move for each in shown) <= 3:
            _keep(out, f"sheet-{name}.jpg", move, made.clip)
    ways = [way for made in shown if (way := measure.amount(made.move, made.clip)) is not None]
    firsts = [measure.psnr(made.clip[:, 0], made.picture) for made in shown]
    tones = [_sounds_right(made, studio.rate) for made in shown]
    figures = [
        Figure.share(f"camera word obeyed, {label}", [made.obeyed for made in shown], 0.95),
        Figure.share("pan and jib: 60 % of the way, right sign", [way >= 0.6 for way in ways], 0.95),
        Figure.least("pan and jib: mean share of the way", fmean(ways), "", 0.6),
        Figure.least("first frame against the input", fmean(firsts), "dB", 28),
        Figure.share("sound: tone within 3 % and whoosh there", tones, 0.9),
    ]
    for move in MOVES:
        values = [made.true_psnr for made in shown if made.move == move]
        figures.append(Figure.least(f"PSNR to the true warp, {move}", fmean(values), "dB", 26))
    return figures


def _keep(out: Path, file: str, move: str, clip: Tensor) -> None:
    """Adds a row to a contact sheet: its clips lie beside it until the next evaluation."""
    store = out / "clips"
    store.mkdir(exist_ok=True)
    torch.save(clip[:, :: max(1, (clip.shape[1] - 1) // 6)].half(), store / f"{file}.{MOVES.index(move)}.pt")
    rows = [
        (MOVES[int(path.suffixes[-2][1:])], torch.load(path, weights_only=True).float())
        for path in sorted(store.glob(f"{file}.*.pt"))
    ]
    sheets.contact_sheet(out / file, rows)


def _sounds_right(made: Shown, rate: int) -> bool:
    tone = sound.TONES[made.move]
    near = abs(measure.strongest_frequency(made.wave, rate) / tone - 1) <= 0.03
    harmonics = [tone * k for k in (0.5, 1, 2, 3)]
    return near and (made.move == "static" or measure.noise_share(made.wave, rate, harmonics) > 0.01)


def _elsewhere(studio: Studio, photographs: Photographs, scope: Scope, out: Path, confusion: Confusion) -> list[Figure]:
    figures = []
    for size in scope.sizes:
        right = [
            studio.show(image, move, prompt, seed, size).obeyed
            for move, _, image, prompt, seed in _asked(photographs, scope.elsewhere)
        ]
        figures.append(Figure.share(f"camera word obeyed, {size[0]}x{size[1]}x{scope.frames}", right, 0.9))
    return figures


def _ends(studio: Studio, photographs: Photographs, scope: Scope, out: Path, confusion: Confusion) -> list[Figure]:
    size, images = (scope.side, scope.side), list(photographs.values())[: scope.pictures]
    values = []
    for index, image in enumerate(images):
        end = images[(index + 1) % len(images)]
        clip, _ = studio.make([image, end], "", held_out.SEEDS[0], size)
        values.append(measure.psnr(clip[:, -1], fit(end, *size)))
    return [Figure.least("last frame against the end image", fmean(values), "dB", 24)]


def _seeds(studio: Studio, photographs: Photographs, scope: Scope, out: Path, confusion: Confusion) -> list[Figure]:
    image, size = next(iter(photographs.values())), (scope.side, scope.side)
    one, again, other = (studio.make([image], "dolly in", seed, size)[0] for seed in (1, 1, 2))
    same = bool((one == again).all()) and not bool((one == other).all())
    return [Figure("same seed same bytes, other seed differs", float(same), "", "exact", same)]


def _loras(studio: Studio, photographs: Photographs, scope: Scope, out: Path, confusion: Confusion) -> list[Figure]:
    size = (_LORA_SIDE, _LORA_SIDE)
    figures: list[Figure] = []
    moved: list[bool] = []
    for move in MOVES:
        if move not in studio.engine.manifest.loras:
            continue
        on: list[Shown] = []
        off: list[Shown] = []
        for index, image in enumerate(list(photographs.values())[: scope.for_loras]):
            prompt, seed = NEUTRAL[index % len(NEUTRAL)], held_out.SEEDS[index % len(held_out.SEEDS)]
            for scale, results in ((1.0, on), (0.0, off)):
                lora = (Lora(name=move, scale=scale, bundled=True),)
                results.append(studio.show(image, move, prompt, seed, size, loras=lora))
        right = [made.obeyed for made in on]
        still = [made.nearest == "static" for made in off]
        figures.append(Figure.share(f"LoRA {move} at 1 moves so", right, 0.8))
        moved.append(fmean(right) >= 0.8 and (move == "static" or fmean(still) >= 0.8))
    if moved:
        figures.append(
            Figure("LoRAs that move at 1 and stand still at 0", float(sum(moved)), "of 7", ">= 6", sum(moved) >= 6)
        )
    return figures


def _cost(studio: Studio, photographs: Photographs, scope: Scope, out: Path, confusion: Confusion) -> list[Figure]:
    """In a process that does nothing else, as an engine's is; this one has held hundreds of clips."""
    image, size = next(iter(photographs.values())), (scope.side, scope.side)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        seconds, peak = alone.submit(_cost_alone, out / "bundle", scope.frames, image, size).result()
    return [
        Figure.most(f"seconds for {size[0]}x{size[1]}x{scope.frames}, without encoding", seconds, "s", 6),
        Figure.most("peak memory of the engine's process", peak, "GB", 1.5),
    ]


def _cost_alone(bundle: Path, frames: int, image: Bytes, size: tuple[int, int]) -> tuple[float, float]:
    """Seconds of the second clip, and the most gigabytes that both took."""
    studio = Studio(bundle, frames)
    for _ in range(2):
        began = time.perf_counter()
        studio.make([image], "the camera moves left", 5, size)
        seconds = time.perf_counter() - began
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with what the process was forked from
        peak = 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    else:  # macOS, which tells bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, peak / 1e9


def _write(out: Path, figures: Sequence[Figure], confusion: Confusion) -> None:
    data = {"figures": [asdict(figure) for figure in figures], "confusion": confusion}
    (out / "evaluation.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    (out / "evaluation.md").write_text(markdown(figures, confusion), encoding="utf-8")
