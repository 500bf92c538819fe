"""The bundle of random weights of an earlier version, found in the cache; and where bundles are looked for."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stillmotion
from stillmotion.engine.manifest import load_manifest
from stillmotion.errors import BundleError
from stillmotion.executor.bundles import NANO, RANDOM, ensure_random, find_bundle


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
    assert find_bundle(NANO, models) == models / NANO
    assert find_bundle("mine", models) == models / "mine"
    assert find_bundle(str(tmp_path / "elsewhere"), models) == tmp_path / "elsewhere"
    with pytest.raises(BundleError, match="no model bundle 'absent'"):
        find_bundle("absent", models)


@pytest.mark.parametrize("packaged", [True, False])
def test_nano_is_the_default_and_random_weights_where_the_package_has_none(
    bundle: Path, tmp_path: Path, packaged: bool
) -> None:
    """On a copy of the package, with another bundle in nano's place, or nothing."""
    own = Path(stillmotion.__file__).parent
    copy = shutil.copytree(own, tmp_path / "stillmotion", ignore=shutil.ignore_patterns("models", "web", "__pycache__"))
    models = tmp_path / "models"
    shutil.copytree(bundle, models / RANDOM)
    if packaged:
        shutil.copytree(bundle, copy / "models" / NANO)
    program = (
        "import asyncio, sys; from pathlib import Path; from stillmotion.executor.bundles import default_bundle\n"
        "print(asyncio.run(default_bundle(Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", program, str(models)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == (copy / "models" / NANO if packaged else models / RANDOM)
