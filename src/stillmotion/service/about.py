"""What the operator configured, as far as answers tell it or depend on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stillmotion.bundles.licence import Licence


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    engine: Literal["process", "mock"]
    data: Path
    """Directory of the database and the files."""
    models: Path
    """Directory of the model bundles."""
    licences: Mapping[str, Licence] = field(default_factory=dict)
    """By the name of a bundle that is served."""
    used_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the name of a bundle what it is configured for: endpoint ids, ``all``, ``safety``."""
    min_free: int = 0
    """Bytes of the disk that stay free."""
    card_samples: bool = True
    """Whether idle engines make a small video for each endpoint's card."""
