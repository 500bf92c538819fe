"""When a webhook is delivered again, and when it is given up: numbers, and no clock."""

from dataclasses import dataclass
from typing import Literal

STEPS = (1, 3, 9, 24, 60, 120, 180, 240, 360, 540)
"""Waits between eleven deliveries, in units of ``Schedule.unit``: with 5 s from 5 s to 45 minutes, 2 h 8 min in all.

fal promises ten retries within two hours; a receiver that is down for less than that must not miss its event.
"""
JITTER = 0.1
"""A wait is up to this part longer: receivers that went down together are not all told in the same second."""

Verdict = Literal["delivered", "refused", "again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Seconds: ``unit`` of ``STEPS``, and how long a receiver has for its answer, at first and later."""

    unit: float = 5.0
    first_timeout: float = 15.0
    later_timeout: float = 120.0

    def timeout(self, failures: int) -> float:
        """For the delivery after so many failures. A receiver that needs longer is rare, and gets it later."""
        return self.later_timeout if failures else self.first_timeout

    def wait(self, failures: int, chance: float) -> float | None:
        """Seconds from the last of ``failures`` (at least one) to the next delivery; None: there is none.

        ``chance``: a random number from 0 to 1.
        """
        return self.unit * STEPS[failures - 1] * (1 + JITTER * chance) if failures <= len(STEPS) else None


def verdict(status: int | None) -> Verdict:
    """What follows from a receiver's status; None: it gave none.

    A redirect is never followed: fal counts it as a permanent failure, and where it leads nobody has checked. 410 is
    how a receiver says that it wants no more.
    """
    if status is None:
        return "again"
    if 200 <= status < 300:
        return "delivered"
    return "refused" if 300 <= status < 400 or status == 410 else "again"
