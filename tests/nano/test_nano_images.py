"""What start image, end image, direction, seed and sound do to a film."""

import pytest
from filming import PHOTOGRAPHS, SEEDS, Studio, picture, url
from measuring import psnr, stands_out, towards, travelled

LEFT = "the camera tracks left"


@pytest.fixture
def other(photo: str) -> str:
    """The photograph that a film of ``photo`` ends at."""
    return next(name for name in PHOTOGRAPHS if name != photo)


def test_image_strength_holds_the_first_frame(studio: Studio, photo: str) -> None:
    held = {
        strength: [
            psnr(film.frames[0], picture(photo)) for film in studio.films(photo, prompt=LEFT, image_strength=strength)
        ]
        for strength in (0.0, 0.5, 1.0)
    }
    assert stands_out(held[1.0], held[0.5])
    assert stands_out(held[0.5], held[0.0])
    assert min(held[1.0]) > 20


def test_an_end_image_is_what_the_film_ends_at(studio: Studio, photo: str, other: str) -> None:
    ending = studio.films(photo, end_image_url=url(other))
    without = studio.films(photo)
    reached, missed = ([psnr(film.frames[-1], picture(other)) for film in films] for films in (ending, without))
    assert stands_out(reached, missed, least=6)
    assert min(psnr(film.frames[0], picture(photo)) for film in ending) > 20


def test_backward_goes_from_the_end_image_to_the_start_image(studio: Studio, photo: str, other: str) -> None:
    forward = studio.films(photo, end_image_url=url(other))
    backward = studio.films(photo, end_image_url=url(other), interpolation_direction="backward")
    for place, shown in ((0, other), (-1, photo)):
        turned, straight = (
            [psnr(film.frames[place], picture(shown)) for film in films] for films in (backward, forward)
        )
        assert stands_out(turned, straight, least=6)


def test_backward_alone_leads_up_to_the_image(studio: Studio, photo: str) -> None:
    """A camera that goes left and arrives at the picture began on the right of it."""
    forward = studio.films(photo, prompt=LEFT)
    backward = studio.films(photo, prompt=LEFT, interpolation_direction="backward")
    kept, left = ([psnr(film.frames[-1], picture(photo)) for film in films] for films in (backward, forward))
    assert stands_out(kept, left, least=3)
    began, stood = (
        [travelled(film.frames[:1], picture(photo), "dolly_right") for film in films] for films in (backward, forward)
    )
    assert stands_out(began, stood, least=0.5)


def test_the_seed_decides(studio: Studio, photo: str) -> None:
    one = studio.film(photo, SEEDS[0], prompt=LEFT)
    again = studio.film(photo, SEEDS[0], prompt=LEFT, take=2)
    other = studio.film(photo, SEEDS[1], prompt=LEFT)
    assert one.answer.headers["x-fal-request-id"] != again.answer.headers["x-fal-request-id"]
    assert one.file == again.file
    assert (one.frames != other.frames).any()
    # And decides nothing that the prompt has said.
    ways = [towards(film.frames[-1], picture(photo), "dolly_left") for film in (one, other)]
    assert min(ways) > 0.5


def test_sound_is_made_unless_it_is_declined(studio: Studio, photo: str) -> None:
    heard = studio.film(photo, SEEDS[0], prompt=LEFT)
    silent = studio.film(photo, SEEDS[0], prompt=LEFT, generate_audio=False)
    assert silent.sound is None
    assert heard.sound
    sound, rate = heard.sound
    assert sound.std() > 0.01
    assert sound.shape[1] / rate == pytest.approx(1, abs=0.05)
    # Sound and pictures are computed together in either case.
    assert (heard.frames == silent.frames).all()
