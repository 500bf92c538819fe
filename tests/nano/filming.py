"""Films made by a server, each once: what tests look at again is kept by what was asked for."""

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from measuring import Array
from PIL import Image

from serving import Server, data_uri, wait
from stillmotion.executor import bundles

EXAMPLES = Path(__file__).parents[2] / "examples"
NANO = bundles.PACKAGED / bundles.NANO
B19 = "fal-ai/ltx-2-19b/image-to-video"
LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"
SEEDS = (1001, 1002, 1003, 1004)
SIDE = 128
PLAIN = "A quiet picture."
"""Names no move, so the camera stands."""
PHOTOGRAPHS = {"coffee.png": (100, 0, 500, 400), "chelsea.png": (75, 0, 375, 300)}
"""Left, top, right and bottom of a square in each. Neither was trained on."""

_ASKED = {
    "prompt": PLAIN,
    "video_size": {"width": SIDE, "height": SIDE},
    "num_frames": 25,
    "use_multiscale": False,
    "enable_prompt_expansion": False,
    "enable_safety_checker": False,
    "video_quality": "maximum",
    "video_write_mode": "fast",
}
# What this endpoint adds to the plain step by itself.
_DEFAULTS = {LORA: {"loras": [], "use_restart_sampling": False}}


def photograph(name: str, side: int = SIDE) -> Image.Image:
    with Image.open(EXAMPLES / name) as image:
        cut = image.convert("RGB").crop(PHOTOGRAPHS[name])
    return cut.resize((side, side), Image.Resampling.LANCZOS)


def picture(name: str, side: int = SIDE) -> Array:
    """(side, side, 3) in 0..255: what the first frame ought to be."""
    return np.asarray(photograph(name, side), dtype=float)


def url(name: str) -> str:
    stream = io.BytesIO()
    photograph(name, 2 * SIDE).save(stream, "PNG")
    return data_uri(stream.getvalue())


@dataclass
class Film:
    """A finished request."""

    file: bytes
    answer: httpx2.Response
    log: list[str]

    @cached_property
    def frames(self) -> Array:
        return decoded(io.BytesIO(self.file))

    @cached_property
    def sound(self) -> tuple[Array, int] | None:
        """(channels, samples) in -1..1, and the samples of a second."""
        with av.open(io.BytesIO(self.file)) as container:
            if not container.streams.audio:
                return None
            parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
            return np.concatenate(parts, axis=1).astype(float), container.streams.audio[0].rate


def decoded(file: Any) -> Array:
    """(frames, rows, columns, 3) by the matrix that the file names."""
    exact = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
    with av.open(file) as container:
        frames = [
            frame.reformat(format="rgb24", dst_color_range=ColorRange.JPEG, interpolation=exact).to_ndarray()
            for frame in container.decode(video=0)
        ]
    return np.stack(frames).astype(float)


class Studio:
    """Makes films of the photographs on a server."""

    def __init__(self, server: Server, client: httpx2.Client) -> None:
        self.server = server
        self._client = client
        self._films: dict[str, Film] = {}
        self._asked: dict[str, dict[str, Any]] = {}

    def film(self, photograph: str, seed: int, *, endpoint: str = B19, take: int = 1, **arguments: Any) -> Film:
        """``take``: another number makes the same film again."""
        key = self._ask(photograph, seed, endpoint, take, arguments)
        if key not in self._films:
            self._films[key] = self._finished(self._asked.pop(key))
        return self._films[key]

    def films(self, photograph: str, *, endpoint: str = B19, **arguments: Any) -> list[Film]:
        """One of each of the four seeds."""
        for seed in SEEDS:
            self._ask(photograph, seed, endpoint, 1, arguments)
        return [self.film(photograph, seed, endpoint=endpoint, **arguments) for seed in SEEDS]

    def _ask(self, photograph: str, seed: int, endpoint: str, take: int, arguments: dict[str, Any]) -> str:
        key = json.dumps([photograph, seed, endpoint, take, arguments], sort_keys=True)
        if key not in self._films and key not in self._asked:
            body = _ASKED | _DEFAULTS.get(endpoint, {}) | {"image_url": url(photograph), "seed": seed} | arguments
            answer = self._client.post(f"/queue/{endpoint}", json=body)
            assert answer.status_code == 200, answer.text
            self._asked[key] = answer.json()
        return key

    def _finished(self, request: dict[str, Any]) -> Film:
        status = wait(self._client, request, seconds=120)
        answer = self._client.get(request["response_url"])
        assert answer.status_code == 200, answer.text
        file = self._client.get(answer.json()["video"]["url"]).content
        return Film(file=file, answer=answer, log=[line["message"] for line in status["logs"]])
