"""What a phase still has to do: in steps, or in minutes on a machine whose speed nobody knows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from training.nano.loop import Clock, Run, Segment

_ENDLESS = 10_000_000
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """``small:1200``, ``full:300:decay`` or ``full:20m``."""

    mix: str
    amount: float
    minutes: bool
    decay: bool

    @property
    def segment(self) -> Segment:
        return Segment(round(self.amount), "decay" if self.decay else "steady", self.mix)


def parse(text: str) -> list[Entry]:
    """Raises ValueError for what is not a list of entries."""
    entries = []
    for part in text.split(","):
        mix, amount, *kind = part.split(":")
        if kind not in ([], ["decay"]):
            raise ValueError(f"{part!r}: after mix and amount may only come decay")
        entries.append(Entry(mix, float(amount.removesuffix("m")), amount.endswith("m"), bool(kind)))
    if len({entry.minutes for entry in entries}) > 1:
        raise ValueError("a timetable is in steps or in minutes, not in both")
    return entries


def follow(run: Run, entries: Sequence[Entry], clock: Clock, tell: Callable[[str], None]) -> bool:
    """Appends the entries to what the run has done, and trains; True when all is done.

    In steps the run is the same on every machine. In minutes each entry ends when its time is over, and a decay is as
    many steps long as the steps before it were fast.
    """
    done = run.finished_segments()
    if not entries[0].minutes:
        run.segments = [*done, *(entry.segment for entry in entries)]
        return run.train(clock, tell)
    pace = 0.0
    for entry in entries:
        ends = min(clock.ends, time.time() + 60 * entry.amount)
        steps = max(_FEWEST, round(pace * 60 * entry.amount)) if entry.decay and pace else _ENDLESS
        run.segments = [*run.finished_segments(), replace(entry.segment, steps=steps)]
        began, first = time.time(), run.done
        run.train(Clock(ends), tell)
        pace = (run.done - first) / max(1.0, time.time() - began)
        if clock.over:
            break
    run.segments = run.finished_segments()
    run.save()
    return True
