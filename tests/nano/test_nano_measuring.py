"""What the other tests measure with, on films whose truth is known; without the model."""

from collections.abc import Callable

import numpy as np
import pytest
from filming import picture
from measuring import MOVES, MOVING, Array, nearest, psnr, stands_out, strongest_frequency, towards, travelled, warped


def true_film(shown: Array, move: str, share: float = 1.0) -> Array:
    return np.stack([warped(shown, move, share * time) for time in np.linspace(0, 1, 9)])


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("move", MOVES)
def test_a_true_film_is_recognised(photo: str, move: str, share: float) -> None:
    """Also with blocks of 8 pixels, which are the worst that a small model makes of it."""
    shown = picture(photo)
    film = true_film(shown, move, share)
    coarse = film.reshape(9, 16, 8, 16, 8, 3).mean((2, 4)).repeat(8, 1).repeat(8, 2)
    for seen in (film, coarse):
        assert share < 1 or nearest(seen, shown) == move
        assert move == "static" or travelled(seen, shown, move) == pytest.approx(share, abs=0.08)
    if move != "static":
        assert towards(film[-1], shown, move) == pytest.approx(share, abs=0.45)
        assert towards(warped(shown, move), shown, move) == pytest.approx(1)
        assert towards(2 * shown - warped(shown, move), shown, move) == pytest.approx(-1)


@pytest.mark.parametrize("move", MOVING)
def test_a_film_that_stands_has_not_travelled(photo: str, move: str) -> None:
    assert travelled(true_film(picture(photo), "static"), picture(photo), move) == pytest.approx(0, abs=0.02)


def test_the_directions_are_as_people_call_them(photo: str) -> None:
    """A camera that goes left shows what is further left: the content goes right."""
    shown = picture(photo)
    places: dict[str, Callable[[Array], Array]] = {
        "dolly_left": lambda last: last[:, 32:] - shown[:, :-32],
        "dolly_right": lambda last: last[:, :-32] - shown[:, 32:],
        "jib_up": lambda last: last[32:] - shown[:-32],
        "jib_down": lambda last: last[:-32] - shown[32:],
    }
    for move, difference in places.items():
        assert np.abs(difference(warped(shown, move))).max() < 1e-6
    inner = shown[32:96, 32:96].mean((0, 1))
    assert np.abs(warped(shown, "dolly_in")[19:109, 19:109].mean((0, 1)) - inner).max() < 4


def test_decibels_and_hertz() -> None:
    grey = np.full((8, 8, 3), 100.0)
    assert psnr(grey, grey + 25.5) == pytest.approx(20)
    assert psnr(grey, grey) == 100
    time = np.arange(17280) / 48000
    tone = np.stack([0.3 * np.sin(2 * np.pi * 437 * time)] * 2)
    assert strongest_frequency(tone, 48000) == pytest.approx(437, abs=1)


def test_an_effect_must_be_three_times_what_seeds_do() -> None:
    assert stands_out([3.1, 4.1], [0.0, 0.5])
    assert not stands_out([3.0, 4.1], [0.5, 1.0])
    assert not stands_out([0.0, 0.0], [0.0, 0.0])
    assert not stands_out([1.0, 1.0], [0.5, 0.5], least=0.6)
    assert not stands_out([0.0, 0.1], [3.0, 3.1])
