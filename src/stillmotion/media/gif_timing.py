"""When the pictures of a GIF are shown: delays are whole hundredths of a second."""

import math
from fractions import Fraction

SHORTEST = 2
"""Hundredths of a second that a picture stays at least; browsers show shorter ones for a tenth of a second."""


class GifClock:
    """Which pictures of a clip of ``rate`` a GIF shows, and from which hundredth of a second on.

    Up to 50 frames per second all are shown, each from the hundredth nearest to its time, so that rounding never
    adds up. Of a faster clip every picture of the GIF shows the one that the clip shows at that time, 50 per second.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._dense = rate * SHORTEST > 100
        self._shown = 0

    def start(self, index: int) -> int | None:
        """Hundredths of a second from which picture ``index`` is shown; None if it is left out. Ask in order."""
        if not self._dense:
            return _nearest(index * 100 / self._rate)
        if math.floor(self._shown * SHORTEST * self._rate / 100) != index:
            return None
        self._shown += 1
        return (self._shown - 1) * SHORTEST

    def end(self, count: int) -> int:
        """Hundredths of a second that ``count`` pictures last, and no less than one can be shown."""
        return max(SHORTEST, _nearest(count * 100 / self._rate))


def shown_frames(count: int, rate: Fraction) -> int:
    """How many of ``count`` pictures the GIF shows."""
    clock = GifClock(rate)
    if rate * SHORTEST <= 100:
        return count
    return clock.end(count) // SHORTEST


def _nearest(hundredths: Fraction) -> int:
    return math.floor(hundredths + Fraction(1, 2))
