"""How a film is sampled: guidance, scales, schedulers, restart noise, gradient estimation, steps."""

import pytest
from filming import B19, LORA, SEEDS, Film, Studio, picture
from measuring import nearest, stands_out, towards, travelled

LEFT, STATIC = "the camera tracks left", "the camera stays fixed in place"


def assert_obeyed(studio: Studio, photo: str, films: list[Film]) -> None:
    """The camera went left, where it stands still without being asked to move."""
    assert [nearest(film.frames, picture(photo)) for film in films] == ["dolly_left"] * len(films)
    still = studio.films(photo, prompt=STATIC)
    went, stood = ([travelled(film.frames, picture(photo), "dolly_left") for film in each] for each in (films, still))
    assert stands_out(went, stood, least=0.6)


def assert_another(films: list[Film], others: list[Film]) -> None:
    """The same seeds gave other pictures."""
    assert all((one.frames != other.frames).any() for one, other in zip(films, others, strict=True))


def test_guidance_pushes_away_from_the_negative_prompt(studio: Studio, photo: str) -> None:
    """A camera that goes left goes further where the negative prompt wants it to stand than where it wants the same."""

    def went(negative: str) -> list[float]:
        films = studio.films(photo, prompt=LEFT, guidance_scale=3, negative_prompt=negative)
        return [towards(film.frames[-1], picture(photo), "dolly_left") for film in films]

    assert stands_out(went(STATIC), went(LEFT), least=0.15)


def test_without_guidance_a_negative_prompt_means_nothing(studio: Studio, photo: str) -> None:
    one, other = (
        studio.film(photo, SEEDS[0], prompt=LEFT, guidance_scale=1, negative_prompt=text) for text in ("blurry", STATIC)
    )
    assert one.file == other.file
    assert one.file == studio.film(photo, SEEDS[0], prompt=LEFT).file


def test_the_documented_guidance_does_no_harm(studio: Studio, photo: str) -> None:
    films = studio.films(photo, prompt=LEFT, guidance_scale=3)
    assert_obeyed(studio, photo, films)
    assert_another(films, studio.films(photo, prompt=LEFT))


@pytest.mark.parametrize("scales", [1, 2])
def test_one_scale_and_two_go_the_same_way(studio: Studio, photo: str, scales: int) -> None:
    large = {"prompt": LEFT, "video_size": {"width": 192, "height": 192}}
    films = studio.films(photo, use_multiscale=scales == 2, **large)
    told = [line for line in films[0].log if line.startswith("stage ") and "schedule" in line]
    computed = ["96x96, 25 frames", "192x192, 25 frames"][-scales:]
    assert [line.partition(": ")[2].partition(" at")[0] for line in told] == computed
    assert films[0].frames.shape == (25, 192, 192, 3)

    assert [nearest(film.frames, picture(photo, 192)) for film in films] == ["dolly_left"] * len(SEEDS)
    went = [travelled(film.frames, picture(photo, 192), "dolly_left") for film in films]
    stood = [travelled(film.frames, picture(photo), "dolly_left") for film in studio.films(photo, prompt=STATIC)]
    assert stands_out(went, stood, least=0.6)


@pytest.mark.parametrize("scheduler", ["ltx2", "linear_quadratic", "beta"])
def test_every_scheduler_leads_to_the_same_move(studio: Studio, photo: str, scheduler: str) -> None:
    films = studio.films(photo, endpoint=LORA, prompt=LEFT, scheduler=scheduler, num_inference_steps=8)
    assert any(f"8 steps, schedule {scheduler}" in line for line in films[0].log)
    assert_obeyed(studio, photo, films)
    assert_another(films, studio.films(photo, prompt=LEFT))


def beta(studio: Studio, photo: str, **fields: object) -> list[Film]:
    return studio.films(photo, endpoint=LORA, prompt=LEFT, scheduler="beta", num_inference_steps=8, **fields)


def test_restart_sampling_leads_to_the_same_move(studio: Studio, photo: str) -> None:
    films = beta(studio, photo, use_restart_sampling=True)
    assert_obeyed(studio, photo, films)
    assert_another(films, beta(studio, photo))


def test_gradient_estimation_leads_to_the_same_move(studio: Studio, photo: str) -> None:
    films = beta(studio, photo, gradient_estimation_gamma=2)
    assert_obeyed(studio, photo, films)
    assert_another(films, beta(studio, photo))


def test_steps_that_are_given_are_taken(studio: Studio, photo: str) -> None:
    film = studio.film(photo, SEEDS[0], endpoint=B19, prompt=LEFT, num_inference_steps=11)
    assert sum("denoising step" in line for line in film.log) == 11
    assert sum("denoising step" in line for line in studio.film(photo, SEEDS[0], prompt=LEFT).log) == 8
    assert nearest(film.frames, picture(photo)) == "dolly_left"
