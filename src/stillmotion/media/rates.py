"""Frame rates as the exact fractions that containers store."""

from fractions import Fraction

NTSC_NOMINAL = (24, 30, 48, 60, 120)
"""The whole rates whose 1000/1001 twins are written as 23.976, 29.97, 47.952, 59.94 and 119.88 (SMPTE ST 12-1)."""

MAX_DENOMINATOR = 1001
"""No rate in use has a larger one. An MP4 track counts time in units of ``1 / rate.numerator`` seconds or finer."""


def frame_rate(fps: float) -> Fraction:
    """The exact rate that ``fps`` (frames per second) abbreviates.

    ``25`` is ``25/1``; a rate that agrees with ``k * 1000/1001`` to three decimals is that; any other is its own
    decimal value, or the nearest fraction with a denominator of at most 1001. Raises ValueError unless positive
    and finite.
    """
    if not 0 < fps < float("inf"):
        raise ValueError(f"a frame rate is positive and finite, not {fps}")
    for nominal in NTSC_NOMINAL:
        exact = Fraction(nominal * 1000, 1001)
        if round(float(exact), 3) == round(fps, 3):
            return exact
    rate = Fraction(repr(float(fps))).limit_denominator(MAX_DENOMINATOR)
    if rate == 0:
        raise ValueError(f"{fps} frames per second is slower than one frame in {MAX_DENOMINATOR} seconds")
    return rate
