"""Several processes that compute one step together, and how they share the passes out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stillmotion.engine.components import Components
from stillmotion.engine.parallel.context import split_context
from stillmotion.engine.parallel.group import Group
from stillmotion.engine.parallel.guidance import share_out
from stillmotion.errors import EngineError
from stillmotion.job import Family

PROGRAM = Path(__file__).with_name("lockstep.py")
FULL = ("conditional", "negative", "perturbed", "isolated")


@pytest.mark.parametrize(
    ("family", "split", "size"), [("ltx-2", "context", 2), ("ltx-2.3", "context", 2), ("ltx-2.3", "guidance", 3)]
)
def test_together_is_as_alone(
    bundles: dict[Family, Path], tmp_path: Path, family: Family, split: str, size: int
) -> None:
    command = [sys.executable, str(PROGRAM)]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(size), str(tmp_path / "meeting"), str(bundles[family]), split],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, (told, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors.decode()
        report = json.loads(told)
        # Guidance multiplies the passes' rounding by its scales, 7 of the sound's among them.
        assert report["apart"] <= (0 if split == "guidance" else 1e-5 * report["size"])
        assert report["frames"] <= (0 if split == "guidance" else 1), "of 255, in a whole job"
        assert report["stops"] == [True, False], "the first process decides"


def test_heads_that_cannot_be_shared_are_told(components: Components) -> None:
    with pytest.raises(EngineError, match="4 attention heads cannot be shared evenly by 3 devices"):
        split_context(components.transformer, Group(0, 3, torch.device("cpu")))


def test_the_busiest_device_has_least_to_do() -> None:
    assert share_out(FULL, 1) == dict.fromkeys(FULL, 0)
    two = share_out(FULL, 2)
    assert two["perturbed"] == two["conditional"] == 0, "they share the blocks before the perturbed one"
    assert two["negative"] == two["isolated"] == 1
    assert len(set(share_out(FULL, 3).values())) == 3
    assert len(set(share_out(FULL, 4).values())) == 4
    assert share_out(FULL, 8) == share_out(FULL, 4)
    assert share_out(("conditional",), 4) == {"conditional": 0}
