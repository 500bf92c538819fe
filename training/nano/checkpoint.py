"""What a training phase knows, in one file that is whole at every moment."""

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Replaces ``path`` in one step: whoever reads it, now or after a crash, finds the old state or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: Path) -> Any:
    """Tensors and plain values alone: nothing in the file is run. On the CPU."""
    return torch.load(path, map_location="cpu", weights_only=True)
