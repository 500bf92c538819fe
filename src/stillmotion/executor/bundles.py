"""Model bundles on disk: finding them by name, and building the one of random weights on first use.

No torch here: what needs it runs in a process of its own.
"""

import asyncio
import importlib.util
import json
import shutil
import sys
from pathlib import Path

from stillmotion.errors import BundleError, ConfigurationError

PACKAGED = Path(__file__).parents[1] / "models"
"""Bundles that come with the package, by name."""
NANO = "nano"
"""A small trained model, for a machine without a GPU: docs/nano.md. It serves where nothing is configured."""
RANDOM = "tiny-ltx-2"
"""Random weights in the layout of LTX-2, built on first use: the whole machinery in seconds, without pictures."""
MANIFEST = "stillmotion.json"


def find_bundle(name: str, models: Path) -> Path:
    """The folder of the bundle ``name``: below ``models``, in the package, or a path. Raises BundleError."""
    for folder in (models / name, PACKAGED / name, Path(name)):
        if (folder / MANIFEST).is_file():
            return folder
    raise BundleError(f"there is no model bundle {name!r} in {models}, and no such folder with a {MANIFEST}")


async def bring_bundle(name: str, models: Path) -> Path:
    """As ``find_bundle``; the one of random weights is built where it is missing. Raises BundleError."""
    return await ensure_random(models) if name == RANDOM else find_bundle(name, models)


async def ensure_random(models: Path) -> Path:
    """The bundle of random weights, built in about ten seconds if it is not there. Raises BundleError.

    One that an earlier version built, and that this one could not show everything with, is replaced.
    """
    folder = models / RANDOM
    if _is_outdated(folder):
        shutil.rmtree(folder)
    if not (folder / MANIFEST).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stillmotion.engine.tiny", str(folder), "--family", "ltx-2"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, errors = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if not (folder / MANIFEST).is_file():
            told = errors.decode(errors="replace").strip().splitlines()[-3:]
            raise BundleError("the bundle of random weights could not be built: " + " / ".join(told))
    return folder


def _is_outdated(folder: Path) -> bool:
    """Whether an earlier version built ``folder``; never true of a bundle of somebody's own that has the name."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # absent, or not ours to judge: loading it tells what is wrong
    ours = isinstance(manifest, dict) and manifest.get("demonstration") is True and manifest.get("name") == RANDOM
    return ours and not manifest.get("upsamplers")  # what the first ones lacked


def check_engine_installed() -> None:
    """Raises ConfigurationError, with the command that helps, when the engine's packages are missing."""
    missing = [name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the engine needs {', '.join(missing)}: pip install 'stillmotion[engine]', or use --engine mock"
        )
