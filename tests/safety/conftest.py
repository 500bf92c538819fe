"""Folders of image classifiers, as transformers writes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from colour_classifier import RED, colour_classifier

from requirements import need_package

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build_classifier(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """``build_classifier(colour=RED, at=0.5, labels=("normal", "nsfw"), problem=None)``: the folder of a classifier.

    The last label is the colour's.
    """
    need_package("torch", "pip install 'stillmotion[engine]'")

    def build(
        colour: tuple[float, float, float] = RED,
        *,
        at: float = 0.5,
        labels: tuple[str, ...] = ("normal", "nsfw"),
        problem: str | None = None,
    ) -> Path:
        from transformers import ViTImageProcessorPil

        folder = tmp_path_factory.mktemp("classifier")
        colour_classifier(colour, at, dict(enumerate(labels)), problem).save_pretrained(folder)
        ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def red_classifier(build_classifier: Build) -> Path:
    """Refuses red as "nsfw"."""
    return build_classifier()
