"""Makes ``bench`` importable, which is no part of the package, and says so where torch is missing."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

TORCH = importlib.util.find_spec("torch") is not None or os.environ.get("STILLMOTION_TEST_REQUIRE") == "all"


class _NeedsTorch(pytest.Module):
    """Stands for a test module that cannot be imported here, and says why."""

    def collect(self) -> NoReturn:
        pytest.skip("needs torch: pip install stillmotion[engine]", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if TORCH else _NeedsTorch.from_parent(parent, path=module_path)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """On layers this small two threads mostly wait for each other."""
    import torch

    torch.set_num_threads(1)
