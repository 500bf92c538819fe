"""docs/models.md names what there is."""

import re
from pathlib import Path

import pytest

from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, PARTS

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


@pytest.mark.parametrize("word", [*BUNDLES, *PARTS, CLASSIFIER.name])
def test_every_name_has_a_row(word):
    assert re.search(rf"^\| `{re.escape(word)}` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", BUNDLES)
def test_sizes_are_the_catalogues(name):
    bundle = BUNDLES[name]
    cameras = sum(source.size for part, source in bundle.sources() if part == "cameras")
    row = re.search(rf"^\| `{re.escape(name)}` .*", PAGE, re.MULTILINE)
    assert row
    assert row[0].endswith(f"| {bundle.size / 1e9:.0f} GB | {(bundle.size - cameras) / 1e9:.0f} GB |")
