"""``stillmotion models list``, ``verify`` and ``rm``: what is here, whether it is sound, and away with it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER
from stillmotion.bundles.pull import gigabytes
from stillmotion.bundles.shelf import Installed, Shelf
from stillmotion.errors import ConfigurationError
from stillmotion.executor.bundles import NANO, PACKAGED
from stillmotion.service.models import ALL
from stillmotion.settings import Settings

WIDTH = 160
_VERIFY = """
import pathlib, sys
from stillmotion.engine.official.verify import verify_bundle
sys.stdout.writelines(line + "\\n" for line in verify_bundle(pathlib.Path(sys.argv[1])))
"""


def show(*, models: Path | None) -> int:
    """Everything that is here, configured, or known by name."""
    settings = Settings.load(models=models)
    uses = _uses(settings)
    table = Table("Name", "State", "Size", "Licence", "Accepted", "Used by")
    here = {found.name: found for found in Shelf(settings.models).installed()}
    for name, found in here.items():
        cells = (_state(found), gigabytes(found.size), found.licence, found.accepted)
        table.add_row(name, *cells, uses.pop(name, ""))
    for name, found in _packaged().items():
        if name not in here:  # else that one is used instead
            table.add_row(name, "comes with Stillmotion", gigabytes(found.size), found.licence, "", uses.pop(name, ""))
    for name, endpoints in uses.items():
        state = "a folder elsewhere" if Path(name).is_dir() else f"not here: stillmotion models pull {name}"
        table.add_row(name, state, "", "", "", endpoints)
    for name, size in _known_sizes().items():
        if name not in here and name not in uses:
            table.add_row(name, f"not here, about {gigabytes(size)} to download", "", "", "", "")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(f"Models in {settings.models}", markup=False, highlight=False)
    console.print(table, markup=False)
    return 0


def verify(name: str, *, models: Path | None) -> int:
    """1 when a file is missing, damaged or unknown."""
    settings = Settings.load(models=models)
    shelf, faults = Shelf(settings.models), 0
    with shelf.locked(name):
        for path, fault in shelf.verify(name):
            print(f"{'ok' if not fault else 'BAD':<4}{path}{': ' + fault if fault else ''}", flush=True)
            faults += bool(fault)
    if faults:
        print(f"{name}: {faults} of its files cannot be used. {shelf.remedy(name)}")
        return 1
    if shelf.look_at(name).kind == "bundle" and (misfits := _misfits(shelf.folder(name))):
        print(*misfits, sep="\n")
        print(f"{name}: its files are those that were recorded, but the engine cannot use them.")
        return 1
    print(f"{name}: every file is there, with the checksum that was recorded.")
    return 0


def remove(name: str, *, models: Path | None, yes: bool) -> int:
    settings = Settings.load(models=models)
    shelf = Shelf(settings.models)
    found, folder = shelf.look_at(name), shelf.existing(name)
    if not yes:
        if used := _uses(settings).get(name):
            raise ConfigurationError(f"{name} is configured for {used}; --yes removes it all the same")
        try:
            answer = input(f"Remove {folder} ({gigabytes(found.size)})? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise ConfigurationError("nothing was removed; --yes answers this question")
    shelf.remove(name)
    print(f"{name} was removed.")
    return 0


def _misfits(folder: Path) -> list[str]:
    """What the engine has against the bundle, a line each; it looks in a process of its own, as it always works."""
    done = subprocess.run([sys.executable, "-c", _VERIFY, str(folder)], capture_output=True, text=True)
    return (done.stdout if done.returncode == 0 else done.stderr).splitlines()


def _uses(settings: Settings) -> dict[str, str]:
    """What a folder is configured for, by its name."""
    uses: dict[str, list[str]] = {}
    for endpoint, name in settings.model.items():
        uses.setdefault(_shelved_name(name, settings.models), []).append(endpoint)
    if ALL not in settings.model:
        uses.setdefault(NANO, []).append(f"{ALL} (default)")
    if settings.safety_model is not None:
        uses.setdefault(_shelved_name(settings.safety_model, settings.models), []).append("safety")
    return {name: ", ".join(endpoints) for name, endpoints in uses.items()}


def _packaged() -> dict[str, Installed]:
    return {found.name: found for found in Shelf(PACKAGED).installed()}


def _shelved_name(name: str, models: Path) -> str:
    """``name``, or of a path into the models folder its last part."""
    path = Path(name).absolute()
    return path.name if path.parent == models.absolute() else name


def _state(found: Installed) -> str:
    if found.state == "whole":
        return "complete"
    return f"incomplete, {gigabytes(found.missing)} missing" if found.missing else "incomplete"


def _known_sizes() -> Mapping[str, int]:
    return {**{name: bundle.size for name, bundle in BUNDLES.items()}, CLASSIFIER.name: CLASSIFIER.size}
