"""The camera goes where words and LoRAs say. What a seed alone changes is a third of every effect, at most."""

import functools
import http.server
import threading
from collections.abc import Iterator
from statistics import mean

import pytest
from filming import LORA, NANO, PLAIN, SEEDS, Film, Studio, picture
from measuring import MOVES, MOVING, TONES, nearest, psnr, stands_out, strongest_frequency, towards, travelled

WORDS = {
    "dolly_in": "the camera zooms in on the subject",
    "dolly_out": "the camera pulls out to a wide view",
    "dolly_left": "the camera tracks left",
    "dolly_right": "the camera tracks right",
    "jib_up": "the camera booms up",
    "jib_down": "the camera booms down",
    "static": "the camera stays fixed in place",
}
"""Phrasings that it was not trained on."""


def assert_goes(films: list[Film], still: list[Film], photo: str, move: str) -> None:
    assert moves(films, photo) == [move] * len(SEEDS)
    assert mean(travelled(film.frames, picture(photo), move) for film in films) >= 0.6
    # The share that explains a zoom best jumps about where its frames are blurred; what they show does not.
    shown, stood = ([towards(film.frames[-1], picture(photo), move) for film in each] for each in (films, still))
    assert stands_out(shown, stood, least=0.4)


def moves(films: list[Film], photo: str) -> list[str]:
    return [nearest(film.frames, picture(photo)) for film in films]


@pytest.mark.parametrize("move", MOVING)
def test_a_camera_word_moves_the_camera_its_way(studio: Studio, photo: str, move: str) -> None:
    assert_goes(studio.films(photo, prompt=WORDS[move]), studio.films(photo, prompt=WORDS["static"]), photo, move)


def test_static_stands_still(studio: Studio, photo: str) -> None:
    still = studio.films(photo, prompt=WORDS["static"])
    assert moves(still, photo) == ["static"] * len(SEEDS)
    kept = [psnr(film.frames[-1], picture(photo)) for film in still]
    for move in MOVING:
        left = [psnr(film.frames[-1], picture(photo)) for film in studio.films(photo, prompt=WORDS[move])]
        assert stands_out(kept, left, least=3)


@pytest.mark.parametrize("move", MOVES)
def test_each_move_has_its_tone(studio: Studio, photo: str, move: str) -> None:
    heard = []
    for film in studio.films(photo, prompt=WORDS[move]):
        assert film.sound
        heard.append(strongest_frequency(*film.sound))
    assert heard == pytest.approx([TONES[move]] * len(heard), rel=0.03)
    # The next tone is 100 Hz away.
    assert 3 * (max(heard) - min(heard)) < 100


@pytest.mark.parametrize("move", MOVING)
def test_a_camera_lora_moves_the_camera_where_the_prompt_says_nothing(studio: Studio, photo: str, move: str) -> None:
    without = studio.films(photo)
    assert moves(without, photo) == ["static"] * len(SEEDS)
    assert_goes(studio.films(photo, camera_lora=move), without, photo, move)


def test_the_static_camera_lora_moves_nothing(studio: Studio, photo: str) -> None:
    assert moves(studio.films(photo, camera_lora="static"), photo) == ["static"] * len(SEEDS)


def test_a_camera_lora_at_scale_0_is_none(studio: Studio, photo: str) -> None:
    off = studio.film(photo, SEEDS[0], camera_lora="dolly_left", camera_lora_scale=0)
    assert off.file == studio.film(photo, SEEDS[0]).file
    assert "camera_lora_scale is 0: no camera LoRA" in off.log


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serves the bundle's files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(NANO))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_a_lora_from_a_folder_or_an_address_is_the_bundles_own(studio: Studio, photo: str, address: str) -> None:
    """The same bytes, and at every scale."""
    file = "lora-dolly-right.safetensors"
    bundled = studio.film(photo, SEEDS[0], endpoint=LORA, camera_lora="dolly_right")
    for path in (f"local:{file}", f"{address}/{file}"):
        film = studio.film(photo, SEEDS[0], endpoint=LORA, loras=[{"path": path, "scale": 1}])
        assert film.file == bundled.file
    assert travelled(bundled.frames, picture(photo), "dolly_right") > 0.6
    none = studio.film(photo, SEEDS[0], endpoint=LORA, loras=[{"path": f"local:{file}", "scale": 0}])
    assert travelled(none.frames, picture(photo), "dolly_right") < 0.2


def test_the_prompt_that_names_no_move_is_static(studio: Studio, photo: str) -> None:
    assert PLAIN not in WORDS.values()
    assert moves(studio.films(photo), photo) == ["static"] * len(SEEDS)
