import math
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.engine.schedule import beta, beta_quantile, distilled, levels, linear_quadratic, ltx2
from stillmotion.job import Schedule

# The published schedules for 15 steps, to four places; ltx2 at 4096 tokens.
FIFTEEN: dict[Schedule, list[float]] = {
    "ltx2": [
        *(1, 0.9872, 0.9728, 0.9564, 0.9374, 0.9154, 0.8894, 0.8583),
        *(0.8205, 0.7735, 0.7135, 0.6341, 0.5243, 0.3625, 0.1, 0),
    ],
    "beta": [
        *(1, 0.9981, 0.9937, 0.9871, 0.9779, 0.9657, 0.9495, 0.9279),
        *(0.8989, 0.8590, 0.8027, 0.7210, 0.6001, 0.4208, 0.1814, 0),
    ],
    "linear_quadratic": [
        *(1, 0.9964, 0.9929, 0.9893, 0.9857, 0.9821, 0.9786, 0.975),
        *(0.9566, 0.9087, 0.8312, 0.7241, 0.5874, 0.4212, 0.2254, 0),
    ],
}


@pytest.mark.parametrize("schedule", FIFTEEN)
def test_golden_values(schedule: Schedule) -> None:
    assert [round(sigma, 4) for sigma in levels(schedule, 15)] == FIFTEEN[schedule]


def test_the_token_count_is_that_of_the_published_recipes() -> None:
    assert ltx2(15) == ltx2(15, tokens=4096)


def test_the_distilled_table_and_its_refining_end() -> None:
    assert levels("distilled", 8) == [1, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0]
    assert levels("distilled", 3) == [0.909375, 0.725, 0.421875, 0]
    for steps in (0, 9):
        with pytest.raises(ValueError, match=f"has 8 steps, not {steps}"):
            distilled(steps)


@given(steps=st.integers(2, 60), tokens=st.integers(1, 40_000))
def test_ltx2_falls_from_one_over_a_tenth_to_zero(steps: int, tokens: int) -> None:
    sigmas = ltx2(steps, tokens)
    assert len(sigmas) == steps + 1
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert sigmas[-2] == pytest.approx(0.1)
    # Strictly, until the shift of a huge canvas lies beyond what a float tells from 1.
    assert all(high >= low for high, low in pairwise(sigmas))
    assert tokens > 20_000 or len(set(sigmas)) == steps + 1


@given(steps=st.integers(2, 60), schedule=st.sampled_from(["ltx2", "linear_quadratic", "beta"]))
def test_every_schedule_falls_strictly_from_one_to_zero(steps: int, schedule: Schedule) -> None:
    sigmas = levels(schedule, steps)
    assert len(sigmas) == steps + 1
    assert (sigmas[0], sigmas[-1]) == (1, 0)
    assert all(high > low for high, low in pairwise(sigmas))


@given(steps=st.integers(2, 60))
def test_linear_quadratic_is_a_line_then_a_parabola_of_the_same_slope(steps: int) -> None:
    sigmas, half = linear_quadratic(steps), steps // 2
    falls = [high - low for high, low in pairwise(sigmas)]
    assert falls[:half] == pytest.approx([0.025 / half] * half)
    assert sigmas[half] == pytest.approx(0.975)
    bends = [after - before for before, after in pairwise(falls[half:])]
    assert bends == pytest.approx([bends[0]] * len(bends) if bends else [])
    if bends:  # half a bend before the first fall of the parabola its slope is that of the line
        assert falls[half] - bends[0] / 2 == pytest.approx(0.025 / half)


@given(probability=st.floats(0, 1))
def test_the_beta_quantile_where_it_has_a_closed_form(probability: float) -> None:
    assert beta_quantile(probability, 0.5) == pytest.approx(math.sin(math.pi * probability / 2) ** 2, abs=1e-12)
    assert beta_quantile(probability, 1.0) == pytest.approx(probability, abs=1e-12)


@given(probability=st.floats(0.001, 0.5), shape=st.floats(0.3, 1))
def test_the_beta_quantile_is_symmetric(probability: float, shape: float) -> None:
    assert beta_quantile(1 - probability, shape) == pytest.approx(1 - beta_quantile(probability, shape), abs=1e-9)


def test_more_tokens_stay_noisy_longer() -> None:
    assert ltx2(8, 1024)[4] < ltx2(8, 4096)[4] < ltx2(8, 14_080)[4]


def test_every_schedule_has_a_rule() -> None:
    assert all(levels(schedule, 8)[-1] == 0 for schedule in get_args(Schedule))


@pytest.mark.parametrize("schedule", [ltx2, linear_quadratic, beta])
def test_one_step_is_refused(schedule: object) -> None:
    assert callable(schedule)
    with pytest.raises(ValueError, match="at least 2 steps, not 1"):
        schedule(1)
