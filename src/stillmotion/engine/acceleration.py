"""How much exactness is given up for time: the levels as values, and what each step computes under them. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stillmotion.engine.guidance import Pass
from stillmotion.job import Acceleration


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What an acceleration level leaves out; the defaults leave out nothing. Shares are of the steps of a run."""

    exact: float = 1.0
    """Share, from the start, in which every step is computed as without acceleration: the layout forms there."""
    drift: float = 0.0
    """How far the noise level falls after that before the guidance passes are computed again; up to there they are
    carried over. In noise levels, not in steps: what changes between two steps is in proportion to it."""
    threshold: float = 0.0
    """Of ``block_cache.BlockCache``, for steps that compute the conditional pass alone."""
    refine: float = 1.0
    """Share after which the perturbed and the isolated pass are left out altogether."""


LEVELS: Mapping[Acceleration, Level] = MappingProxyType(
    {
        "none": Level(),
        "regular": Level(exact=0.1, drift=0.1),
        "high": Level(exact=0.1, drift=0.15, threshold=0.06),
        "full": Level(exact=0.1, drift=0.2, threshold=0.12, refine=0.6),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """What one step does with the passes that guidance needs."""

    computed: frozenset[Pass]
    carried: frozenset[Pass] = frozenset()
    """How far their velocity was from the conditional one when last computed is taken to hold still."""
    dropped: frozenset[Pass] = frozenset()
    may_skip_blocks: bool = False


def regular_at_most(acceleration: Acceleration) -> Acceleration:
    """``acceleration`` without the levels that have a block cache."""
    return "regular" if LEVELS[acceleration].threshold else acceleration


def passes_at(level: Level, needed: frozenset[Pass], step: int, steps: int, drift: float) -> Passes:
    """For step ``step``, from 0, of ``steps``, ``drift`` below the noise level of the last step with all its passes."""
    refines = level.refine < 1 and step >= level.refine * steps
    dropped = needed & {"perturbed", "isolated"} if refines else frozenset()
    left = needed - dropped
    begun = level.exact < 1 and step >= math.ceil(level.exact * steps)
    # The tolerance is for levels that are written as decimals: 1 - 0.9 is to be 0.1.
    computed = left & {"conditional"} if begun and drift < level.drift - 1e-9 else left
    return Passes(
        computed=computed,
        carried=left - computed,
        dropped=dropped,
        may_skip_blocks=begun and step < steps - 1 and level.threshold > 0 and computed == {"conditional"},
    )


class Pace:
    """What each step of one run computes; asked once for each, in order."""

    def __init__(self, level: Level, needed: frozenset[Pass], steps: int) -> None:
        self._level, self._needed, self._steps = level, needed, steps
        self._guided_at = math.inf
        self.step = 0
        """Steps begun so far."""

    def at(self, sigma: float) -> Passes:
        """For the next step, which is at noise level ``sigma``."""
        now = passes_at(self._level, self._needed, self.step, self._steps, self._guided_at - sigma)
        if not now.carried:
            self._guided_at = sigma
        self.step += 1
        return now

    @property
    def over(self) -> bool:
        return self.step == self._steps
