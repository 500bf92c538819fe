"""What the model is judged on and never trained on: pictures, phrasings and seeds, listed with hashes beforehand."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.nano import prompts
from training.nano.moves import MOVES
from training.nano.pictures import Bytes, picture

PATH = Path(__file__).with_name("held_out.json")
EXAMPLES = Path(__file__).parents[2] / "examples"

SEEDS = (1001, 1002, 1003, 1004)
_DRAWN = 990_000_000
"""Seeds of the drawn pictures; training draws from other ones."""

_SIDE = 384
_PHOTOGRAPHS = {
    "chelsea.png": ((0.0, 0.0, 0.68), (0.32, 0.0, 1.0)),
    "coffee.png": ((0.05, 0.0, 1.0), (0.3, 0.25, 0.6)),
    "rocket.jpg": ((0.2, 0.0, 1.0), (0.32, 0.3, 0.65)),
}
"""Two squares of each of the demonstration's photographs: left, top and side, as shares of width and height."""

_DRAWN_COUNT = 6
SCENES = (
    "A quiet picture of a harbour in the morning",
    "people in the street",
    "an old tower at night, soft light",
)
"""Sentences around the phrasings, one for each of the three; the first and last are not of the training's words."""


def pictures(side: int = _SIDE) -> dict[str, Bytes]:
    """The twelve, by name: (side, side, 3)."""
    return {name: np.array(image.resize((side, side), Image.Resampling.LANCZOS)) for name, image in _squares()}


def phrasings() -> dict[str, tuple[str, ...]]:
    """Three prompts of each move: its unseen phrasings, the first alone and the others within a text."""
    asked = {}
    for move in MOVES:
        alone, *others = prompts.unseen(move)
        asked[move] = (
            alone,
            *(prompts.joined(phrase, scene) for phrase, scene in zip(others, SCENES[1:], strict=True)),
        )
    return asked


def listing() -> dict[str, Any]:
    return {
        "pictures": {name: hashlib.sha256(pixels.tobytes()).hexdigest() for name, pixels in pictures().items()},
        "photographs": {name: _file_hash(EXAMPLES / name) for name in _PHOTOGRAPHS},
        "prompts": {move: list(texts) for move, texts in phrasings().items()},
        "seeds": list(SEEDS),
    }


def write() -> None:
    PATH.write_text(json.dumps(listing(), indent=2) + "\n", encoding="utf-8")


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _squares() -> Iterator[tuple[str, Image.Image]]:
    for file, cuts in _PHOTOGRAPHS.items():
        photograph = Image.open(EXAMPLES / file).convert("RGB")
        for number, (left, top, share) in enumerate(cuts, 1):
            side = round(share * min(photograph.size))
            x = min(round(left * photograph.width), photograph.width - side)
            y = min(round(top * photograph.height), photograph.height - side)
            yield f"{Path(file).stem}-{number}", photograph.crop((x, y, x + side, y + side))
    for number in range(1, _DRAWN_COUNT + 1):
        yield f"drawn-{number}", Image.fromarray(picture((_DRAWN, number), _SIDE, _SIDE))
