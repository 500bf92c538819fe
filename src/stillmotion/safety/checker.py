"""What a safety checker is: something that sees a prompt, a picture or frames, and says whether it is refused."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # settings.py needs what stands here, and numpy takes 50 ms of every command's start
    import numpy as np
    import numpy.typing as npt

Picture: TypeAlias = "npt.NDArray[np.uint8]"
"""Upright RGB, (rows, columns, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    flagged: bool
    label: str = ""
    """What it was taken for."""
    score: float = 0.0
    """From 0 to 1."""


PASSED = Verdict(flagged=False)


class Checker(Protocol):
    """What one has no opinion on, it passes. Any exception means that nothing was checked."""

    def prompt(self, text: str) -> Verdict: ...

    def picture(self, rgb: Picture) -> Verdict: ...

    def frames(self, frames: Iterable[Picture]) -> Verdict:
        """Of the frame that is worst; ``frames`` is read once, a few at a time."""
        ...


class Checkers:
    """Several checkers as one: what any of them flags is flagged."""

    def __init__(self, checkers: Sequence[Checker]) -> None:
        self._checkers = tuple(checkers)

    def prompt(self, text: str) -> Verdict:
        return _worst([checker.prompt(text) for checker in self._checkers])

    def picture(self, rgb: Picture) -> Verdict:
        return _worst([checker.picture(rgb) for checker in self._checkers])

    def frames(self, frames: Iterable[Picture]) -> Verdict:
        # Each reads them all: one is the rule, and then they need not be held together in memory.
        kept = frames if len(self._checkers) == 1 else list(frames)
        return _worst([checker.frames(kept) for checker in self._checkers])


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: (verdict.flagged, verdict.score), default=PASSED)
