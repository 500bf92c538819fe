"""How long a work will take, by what like works took on this server; and nothing where none is like it.

Works are sorted into classes by what the network computes: tokens (pixels and frames of each stage) times passes. Two
works of one class differ by a third at most; a neighbouring class is twice that away, and is scaled by its distance.
"""

import math
from dataclasses import dataclass
from statistics import median

from stillmotion.job import Guidance, Job
from stillmotion.store import history
from stillmotion.store.driver import Store

PER_OCTAVE = 3
"""Classes between a work and one twice as large."""
REACH = 3
"""Classes on either side that are asked where a class is empty: half to twice the work."""
NEWEST = 20
"""Works of a class that are looked at."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """``seconds`` of the engine, by ``works`` earlier ones; None where there is none to go by."""

    seconds: float | None
    works: int


UNKNOWN = Expectation(seconds=None, works=0)


def effort_of(job: Job) -> str:
    """The class of a job: what its stages compute, and how much of it may be left out."""
    return f"{_class(job)}/{job.acceleration}"


async def expect(store: Store, endpoint: str, job: Job) -> Expectation:
    """From the newest works of the nearest class that has any, on the same model."""
    own = _class(job)
    for distance in sorted(range(-REACH, REACH + 1), key=lambda step: (abs(step), step)):
        effort = f"{own + distance}/{job.acceleration}"
        if took := await store.read(history.timings(endpoint, job.model, effort, NEWEST)):
            return Expectation(seconds=median(took) * 2 ** (-distance / PER_OCTAVE), works=len(took))
    return UNKNOWN


def _class(job: Job) -> int:
    # Two parts of a work grow with different things: what is computed, and what is written.
    computed = sum(
        stage.width * stage.height * stage.num_frames * stage.steps * _passes(stage.video) for stage in job.stages
    )
    written = job.width * job.height * job.num_frames
    return round(PER_OCTAVE * math.log2(computed + written))


def _passes(guidance: Guidance) -> int:
    """Passes of the network in one step."""
    return 1 + (guidance.cfg != 1) + (guidance.stg != 0) + (guidance.modality != 1)
