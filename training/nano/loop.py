"""The training loop of every phase: slices of wall time, checkpoints, exact resumption, a log of what was lost.

A phase is a list of segments: so many steps, steady or with a rate that falls to nothing. A step is a function of the
seed, its number and the weights alone; so weights, averages, optimizers and the step's number are all there is to save.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.nano import checkpoint

SAVE_EVERY = 300.0
"""Seconds between two checkpoints: what a crash costs at most."""

_WARM_UP = 30
"""Steps over which the rate rises at the start of a segment; also after a decay, when a run is continued."""

_FLOOR = 0.02
"""Share of the rate that a decay ends at."""


@dataclass(frozen=True, slots=True)
class Segment:
    """``steps`` steps on the curriculum ``mix``."""

    steps: int
    kind: Literal["steady", "decay"] = "steady"
    mix: str = ""

    def rate(self, step: int) -> float:
        """Factor of the learning rate at the segment's own ``step``."""
        warm = min(1.0, (step + 1) / _WARM_UP)
        if self.kind == "steady":
            return warm
        return warm * max(_FLOOR, 1 - step / self.steps)


@dataclass(frozen=True, slots=True)
class Clock:
    """When a slice must end."""

    ends: float = float("inf")
    """In seconds of ``time.time()``."""

    @property
    def over(self) -> bool:
        return time.time() >= self.ends


class Averages:
    """Exponential moving averages of parameters, which sample better than the parameters themselves."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.values = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def follow(self, module: nn.Module, step: int) -> None:
        """The first steps are forgotten faster: after n of them an average of ten times as many would be noise."""
        weight = 1 - min(self._decay, (step + 1) / (step + 10))
        names, tensors = [], []
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                names.append(name)
                tensors.append(tensor)
        torch._foreach_lerp_([self.values[name] for name in names], tensors, weight)


@dataclass(slots=True)
class Phase:
    """What is trained, and how one step is made."""

    name: str
    modules: Mapping[str, nn.Module]
    optimizers: Sequence[torch.optim.Optimizer]
    step: Callable[[int, Segment], dict[str, Tensor | float]]
    """Computes gradients for a step's number; returns what to log."""
    clip: float = 1.0
    decay: float = 0.998
    """Of the averages."""


@dataclass
class Run:
    """A phase under way in ``folder``; ``segments`` are of a new one, a checkpoint brings its own."""

    phase: Phase
    folder: Path
    segments: list[Segment]
    done: int = 0

    def __post_init__(self) -> None:
        self._averages = {name: Averages(module, self.phase.decay) for name, module in self.phase.modules.items()}
        self._rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.phase.optimizers]
        if self.path.exists():
            self._resume(checkpoint.load(self.path))

    @property
    def path(self) -> Path:
        return self.folder / f"{self.phase.name}.pt"

    @property
    def total(self) -> int:
        return sum(segment.steps for segment in self.segments)

    @property
    def finished(self) -> bool:
        return self.done >= self.total

    def train(self, clock: Clock, tell: Callable[[str], None]) -> bool:
        """Steps until all are done (True) or time is up; a checkpoint is written either way."""
        saved = told = time.time()
        began, first = saved, self.done
        sums: dict[str, float] = {}
        count = 0
        with (self.folder / f"{self.phase.name}.jsonl").open("a", encoding="utf-8") as log:
            for segment, step in self._rest():
                if clock.over:
                    break
                losses = self._one(segment, step)
                count += 1
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                now = time.time()
                if now - told > 15 or self.finished:
                    means = {name: round(value / count, 5) for name, value in sums.items()}
                    log.write(json.dumps({"step": self.done, "time": round(now), **means}) + "\n")
                    log.flush()
                    pace = (self.done - first) / (now - began)
                    left = (self.total - self.done) / pace / 60
                    tell(_line(self.phase.name, self.done, self.total, means, pace, left))
                    told, count, sums = now, 0, {}
                if now - saved > SAVE_EVERY:
                    self.save()
                    saved = now
        self.save()
        return self.finished

    def save(self) -> None:
        modules = {name: module.state_dict() for name, module in self.phase.modules.items()}
        checkpoint.save(
            self.path,
            {
                "step": self.done,
                "segments": [asdict(segment) for segment in self.segments],
                "modules": modules,
                "averages": {name: average.values for name, average in self._averages.items()},
                "optimizers": [optimizer.state_dict() for optimizer in self.phase.optimizers],
            },
        )

    def _rest(self) -> Iterator[tuple[Segment, int]]:
        """The steps that are left, each with its number within its segment."""
        start = 0
        for segment in self.segments:
            while self.done < start + segment.steps:
                yield segment, self.done - start
            start += segment.steps

    def _one(self, segment: Segment, step: int) -> dict[str, Tensor | float]:
        for optimizer, rates in zip(self.phase.optimizers, self._rates, strict=True):
            optimizer.zero_grad(set_to_none=True)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * segment.rate(step)
        losses = self.phase.step(self.done, segment)
        parameters = [p for optimizer in self.phase.optimizers for g in optimizer.param_groups for p in g["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.phase.clip)
        for optimizer in self.phase.optimizers:
            optimizer.step()
        for name, average in self._averages.items():
            average.follow(self.phase.modules[name], self.done)
        self.done += 1
        return losses | {"norm": norm}

    def finished_segments(self) -> list[Segment]:
        """What has been done, without what was planned after it."""
        finished, left = [], self.done
        for segment in self.segments:
            if left > 0:
                finished.append(replace(segment, steps=min(segment.steps, left)))
            left -= segment.steps
        return finished

    def _resume(self, state: dict[str, Any]) -> None:
        for name, module in self.phase.modules.items():
            module.load_state_dict(state["modules"][name])
            self._averages[name].values = state["averages"][name]
        for optimizer, saved in zip(self.phase.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.done = state["step"]
        self.segments = [Segment(**segment) for segment in state["segments"]]


def averaged(folder: Path, phase: str, module: str) -> dict[str, Tensor]:
    """The averaged weights of a phase's last checkpoint."""
    values: dict[str, Tensor] = checkpoint.load(folder / f"{phase}.pt")["averages"][module]
    return values


def generator(seed: int, *numbers: int) -> torch.Generator:
    """Random numbers of one place in the training: the same wherever it was stopped before."""
    mixed = seed
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 12_345) % (1 << 62)
    return torch.Generator().manual_seed(mixed)


def _line(name: str, done: int, total: int, means: Mapping[str, float], pace: float, left: float) -> str:
    filled = round(20 * done / max(1, total))
    values = " ".join(f"{key} {value:.4f}" for key, value in means.items())
    clock = time.strftime("%H:%M:%S")
    return (
        f"{clock} {name} [{'#' * filled}{'.' * (20 - filled)}] {done}/{total} {values} {pace:.2f}/s {left:.0f} min left"
    )


def print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
