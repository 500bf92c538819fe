"""The demonstration bundle of an earlier version, found in the cache."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillmotion.engine.manifest import load_manifest
from stillmotion.executor.bundles import ensure_demonstration


@pytest.fixture
def cached(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """A folder of models whose demonstration bundle has ``fields`` in its manifest."""

    def make(**fields: Any) -> Path:
        folder = Path(shutil.copytree(bundle, tmp_path / "tiny-ltx-2"))
        manifest = json.loads((folder / "stillmotion.json").read_text())
        (folder / "stillmotion.json").write_text(json.dumps(manifest | fields))
        (folder / "mark").touch()
        return tmp_path

    return make


@pytest.mark.parametrize("upsamplers", [[], {}])
async def test_an_outdated_one_is_built_again(cached: Callable[..., Path], bundle: Path, upsamplers: object) -> None:
    folder = await ensure_demonstration(cached(upsamplers=upsamplers, loras={}))
    assert not (folder / "mark").exists()
    assert load_manifest(folder) == load_manifest(bundle)


@pytest.mark.parametrize(
    "fields", [{}, {"upsamplers": {}, "demonstration": False}, {"upsamplers": {}, "name": "my own"}], ids=str
)
async def test_a_current_one_and_somebodys_own_are_kept(cached: Callable[..., Path], fields: dict[str, object]) -> None:
    folder = await ensure_demonstration(cached(**fields))
    assert (folder / "mark").exists()
