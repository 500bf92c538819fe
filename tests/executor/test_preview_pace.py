"""How often preview pictures are made: never more often than asked for, and never for more than their share of time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.executor.previews import SHARE, Previews
from stillmotion.job import Preview

BLACK = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("previews")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    steps=st.lists(st.tuples(st.floats(0.001, 30), st.floats(0.001, 3)), max_size=60),
    seconds=st.sampled_from([0.0, 1.0, 5.0]),
)
def test_their_cost_is_bounded(folder: Path, steps: list[tuple[float, float]], seconds: float) -> None:
    """A picture is made whenever the seconds are over and those after the first are within their share of time."""
    clock = Clock()
    previews = Previews(Preview(path=str(folder / "preview.jpg"), seconds=seconds), pytest.fail, clock=clock)
    costs: list[float] = []
    ends = [clock.now]

    for step, cost in steps:
        clock.now += step
        begun = clock.now

        def make(cost: float = cost) -> np.ndarray:
            clock.now += cost
            costs.append(cost)
            return BLACK

        previews.offer(make)
        made = clock.now > begun
        assert (previews.newest() is not None) == made
        assert previews.newest() is None
        if made:
            assert begun - ends[-1] >= seconds
            ends.append(clock.now)
            assert sum(costs[1:-1]) <= SHARE * (begun - 1000.0) + 1e-9
        elif begun - ends[-1] >= seconds:
            assert sum(costs[1:]) > SHARE * (begun - 1000.0) - 1e-9
    assert previews.seconds == pytest.approx(sum(costs))
