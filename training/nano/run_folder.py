"""The folder of a training run: what was asked for when it was prepared."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from training.nano.presets import PRESETS, Preset

DEFAULT = Path("build/nano")


@dataclass(frozen=True, slots=True)
class RunFolder:
    path: Path
    preset_name: str
    seed: int

    @property
    def preset(self) -> Preset:
        return PRESETS[self.preset_name]

    @classmethod
    def create(cls, path: Path, preset_name: str, seed: int) -> Self:
        """The folder at ``path``; one that is there keeps what it was made for. Raises ValueError if that differs."""
        wanted = cls(path, preset_name, seed)
        path.mkdir(parents=True, exist_ok=True)
        if not cls._file(path).exists():
            cls._file(path).write_text(json.dumps({"preset": preset_name, "seed": seed}) + "\n", encoding="utf-8")
        elif cls.open(path) != wanted:
            raise ValueError(f"{path} was prepared for another preset or seed: {cls.open(path)}")
        return wanted

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises FileNotFoundError for a folder that was never prepared."""
        stated = json.loads(cls._file(path).read_text(encoding="utf-8"))
        return cls(path, stated["preset"], stated["seed"])

    @staticmethod
    def _file(path: Path) -> Path:
        return path / "run.json"
