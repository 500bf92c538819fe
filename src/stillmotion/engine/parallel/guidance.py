"""Guidance parallelism: which device computes which pass of a step."""

from collections.abc import Collection
from itertools import product

from stillmotion.engine.guidance import Pass

RESUMED = 20 / 48
"""Of a pass: what the perturbed one costs on the device of the conditional one, from block 28 of 48 (LTX-2.3)."""


def share_out(needed: Collection[Pass], devices: int) -> dict[Pass, int]:
    """The device of each pass such that the busiest has least to do; the first one computes the conditional pass.

    Two devices turn the 3.4 passes of full guidance into 2, three into 1.4, four into 1.
    """
    others = sorted(set(needed) - {"conditional"})
    first: Pass = "conditional"

    def shared(places: tuple[int, ...]) -> dict[Pass, int]:
        return {first: 0, **dict(zip(others, places, strict=True))}

    # At most 3 others: 64 ways with 4 devices, and more devices than passes stay idle.
    ways = product(range(min(devices, len(others) + 1)), repeat=len(others))
    return min((shared(places) for places in ways), key=_busiest)


def _busiest(shared: dict[Pass, int]) -> tuple[float, float]:
    """What the busiest device computes in passes, and all of them together."""
    loads = dict.fromkeys(shared.values(), 0.0)
    for name, device in shared.items():
        beside = name == "perturbed" and device == shared["conditional"]
        loads[device] += RESUMED if beside else 1.0
    return max(loads.values()), sum(loads.values())
