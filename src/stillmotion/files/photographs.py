"""The photographs that come with the package: what a first request can start from without the internet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from stillmotion.errors import NotFound

FOLDERS = (Path(__file__).parents[1] / "examples", Path(__file__).parents[3] / "examples")
"""In an installed package, and in a checkout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One picture, and a prompt that fits it."""

    name: str
    width: int
    height: int
    content_type: str
    prompt: str
    credit: str


PHOTOGRAPHS: Mapping[str, Photograph] = MappingProxyType(
    {
        photograph.name: photograph
        for photograph in (
            Photograph(
                name="coffee.png",
                width=600,
                height=400,
                content_type="image/png",
                prompt="Steam rises slowly from the cup of coffee while the camera dollies in; soft morning light.",
                credit="Rachel Michetti, Pikolo Espresso Bar; CC0",
            ),
            Photograph(
                name="chelsea.png",
                width=451,
                height=300,
                content_type="image/png",
                prompt="The cat looks up, blinks and turns its head towards a quiet sound.",
                credit="Stefan van der Walt; CC0",
            ),
            Photograph(
                name="rocket.jpg",
                width=640,
                height=427,
                content_type="image/jpeg",
                prompt="The rocket lifts off with a roar, smoke rolls over the ground, the camera shakes slightly.",
                credit="SpaceX; CC0",
            ),
        )
    }
)


def photograph(name: str) -> Path:
    """The file of one of ``PHOTOGRAPHS``. Raises NotFound, also where the package was put together without them."""
    for folder in FOLDERS:
        if name in PHOTOGRAPHS and (folder / name).is_file():
            return folder / name
    raise NotFound(f"There is no photograph {name!r}")
