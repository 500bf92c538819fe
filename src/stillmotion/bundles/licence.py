"""Under which terms a bundle's weights are given, as its manifest says."""

import json
from dataclasses import dataclass
from pathlib import Path

from stillmotion.bundles.record import MANIFEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    name: str
    url: str | None = None
    """Where it can be read; None: beside the weights."""


def licence_of(folder: Path) -> Licence | None:
    """None where the folder has no manifest, or one that does not say."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["licence"]
        url = told.get("url")
        return Licence(name=str(told["name"]), url=None if url is None else str(url))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
