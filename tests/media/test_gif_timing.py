"""A GIF's clock: every picture at its hundredth of a second, and none too short to be seen."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.media.gif_timing import SHORTEST, GifClock, shown_frames
from stillmotion.media.rates import frame_rate

RATES = st.one_of(
    st.sampled_from([1, 23.976, 24, 25, 48, 50, 60, 59.94, 119.88]), st.floats(0.5, 240, allow_nan=False)
).map(frame_rate)


def timeline(rate: Fraction, count: int) -> tuple[list[tuple[int, int]], int]:
    """(picture, hundredth) for every one that is shown long enough, and the end."""
    clock = GifClock(rate)
    starts = [(index, start) for index in range(count) if (start := clock.start(index)) is not None]
    end = clock.end(count)
    if len(starts) > 1 and end - starts[-1][1] < SHORTEST:
        starts.pop()
    return starts, end


@given(rate=RATES, count=st.integers(1, 500))
def test_every_picture_is_shown_at_its_time(rate: Fraction, count: int) -> None:
    starts, end = timeline(rate, count)
    exact = count * 100 / rate
    assert starts[0] == (0, 0)
    assert len(starts) == shown_frames(count, rate)
    assert end == SHORTEST or abs(end - exact) <= Fraction(1, 2)
    times = [start for _, start in starts] + [end]
    assert all(later - earlier >= SHORTEST for earlier, later in itertools.pairwise(times))
    if rate <= 50:
        assert [index for index, _ in starts] == list(range(count))
        assert all(abs(start - index * 100 / rate) <= Fraction(1, 2) for index, start in starts)
    else:
        # What the clip shows at that moment.
        assert all(index <= start * rate / 100 < index + 1 for index, start in starts)


@pytest.mark.parametrize(
    ("fps", "delays"),
    [
        (1, [100, 100, 100, 100]),
        (24, [4, 4, 5, 4]),
        (23.976, [4, 4, 5, 4]),
        (25, [4, 4, 4, 4]),
        (48, [2, 2, 2, 2]),
        (50, [2, 2, 2, 2]),
        (60, [2, 2, 3]),
    ],
)
def test_the_delays_of_four_pictures(fps: float, delays: list[int]) -> None:
    starts, end = timeline(frame_rate(fps), 4)
    times = [start for _, start in starts] + [end]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == delays


def test_sixty_frames_become_fifty() -> None:
    starts, end = timeline(Fraction(60), 60)
    assert end == 100
    assert [index for index, _ in starts] == [index for index in range(60) if index % 6 != 5]
