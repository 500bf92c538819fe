"""Frame rates: exact, and stable under a round trip through a float."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.media.rates import MAX_DENOMINATOR, frame_rate


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (24, Fraction(24)),
        (25.0, Fraction(25)),
        (50, Fraction(50)),
        (23.976, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (47.952, Fraction(48000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (24000 / 1001, Fraction(24000, 1001)),
        (12.5, Fraction(25, 2)),
        (23.98, Fraction(1199, 50)),
        (24.1, Fraction(241, 10)),
        (1 / 3, Fraction(1, 3)),
    ],
)
def test_known_rates_are_exact(fps: float, rate: Fraction) -> None:
    assert frame_rate(fps) == rate


@given(st.floats(0.01, 1000))
def test_every_rate_is_near_and_bounded(fps: float) -> None:
    rate = frame_rate(fps)
    assert rate.denominator <= MAX_DENOMINATOR
    assert abs(float(rate) - fps) <= 0.0006


@given(st.integers(1, 240), st.sampled_from([1, 2, 3, 4, 5, 8, 10, 100, 1001]))
def test_a_rate_that_was_read_back_is_the_same_rate(numerator: int, denominator: int) -> None:
    rate = frame_rate(numerator / denominator)
    assert frame_rate(float(rate)) == rate


@pytest.mark.parametrize("fps", [0, -25, float("inf"), float("nan"), 1e-9])
def test_what_is_no_rate_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="frame"):
        frame_rate(fps)
