from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.engine.schedule import ltx2

# The published schedule for 15 steps at 4096 tokens, to four places.
FIFTEEN = [
    *(1, 0.9872, 0.9728, 0.9564, 0.9374, 0.9154, 0.8894, 0.8583),
    *(0.8205, 0.7735, 0.7135, 0.6341, 0.5243, 0.3625, 0.1, 0),
]


def test_golden_values() -> None:
    assert [round(sigma, 4) for sigma in ltx2(15)] == FIFTEEN
    assert ltx2(15) == ltx2(15, tokens=4096)


@given(steps=st.integers(2, 60), tokens=st.integers(1, 40_000))
def test_falls_from_one_over_a_tenth_to_zero(steps: int, tokens: int) -> None:
    sigmas = ltx2(steps, tokens)
    assert len(sigmas) == steps + 1
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert sigmas[-2] == pytest.approx(0.1)
    # Strictly, until the shift of a huge canvas lies beyond what a float tells from 1.
    assert all(high >= low for high, low in pairwise(sigmas))
    assert tokens > 20_000 or len(set(sigmas)) == steps + 1


def test_more_tokens_stay_noisy_longer() -> None:
    assert ltx2(8, 1024)[4] < ltx2(8, 4096)[4] < ltx2(8, 14_080)[4]


def test_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 steps"):
        ltx2(1)
