"""The bundle of random weights of an earlier version, found in the cache; and where bundles are looked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillmotion.engine.manifest import load_manifest
from stillmotion.errors import BundleError
from stillmotion.executor.bundles import NANO, PACKAGED, ensure_random, find_bundle


@pytest.fixture
def cached(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """A folder of models whose bundle of random weights has ``fields`` in its manifest."""

    def make(**fields: Any) -> Path:
        folder = Path(shutil.copytree(bundle, tmp_path / "tiny-ltx-2"))
        manifest = json.loads((folder / "stillmotion.json").read_text())
        (folder / "stillmotion.json").write_text(json.dumps(manifest | fields))
        (folder / "mark").touch()
        return tmp_path

    return make


@pytest.mark.parametrize("upsamplers", [[], {}])
async def test_an_outdated_one_is_built_again(cached: Callable[..., Path], bundle: Path, upsamplers: object) -> None:
    folder = await ensure_random(cached(upsamplers=upsamplers, loras={}))
    assert not (folder / "mark").exists()
    assert load_manifest(folder) == load_manifest(bundle)


@pytest.mark.parametrize(
    "fields", [{}, {"upsamplers": {}, "demonstration": False}, {"upsamplers": {}, "name": "my own"}], ids=str
)
async def test_a_current_one_and_somebodys_own_are_kept(cached: Callable[..., Path], fields: dict[str, object]) -> None:
    folder = await ensure_random(cached(**fields))
    assert (folder / "mark").exists()


def test_a_bundle_of_the_models_folder_comes_before_the_packages_and_a_path(bundle: Path, tmp_path: Path) -> None:
    for name in (NANO, "mine"):
        shutil.copytree(bundle, tmp_path / "models" / name)
    shutil.copytree(bundle, tmp_path / "elsewhere")
    models = tmp_path / "models"
    assert find_bundle(NANO, tmp_path) == PACKAGED / NANO
    assert find_bundle(NANO, models) == models / NANO
    assert find_bundle("mine", models) == models / "mine"
    assert find_bundle(str(tmp_path / "elsewhere"), models) == tmp_path / "elsewhere"
    with pytest.raises(BundleError, match="no model bundle 'absent'"):
        find_bundle("absent", models)
