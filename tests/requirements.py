"""What a test needs beyond the core. Missing: skipped with the reason, or failed where nothing may be missing."""

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest


def need_package(name: str, install: str) -> None:
    if importlib.util.find_spec(name) is None:
        missing(f"needs the package {name}: {install}")


def need_program(name: str) -> str:
    """Path of a program."""
    path = shutil.which(name)
    if path is None:
        missing(f"needs the program {name}")
    return path


def missing(reason: str) -> NoReturn:
    if os.environ.get("STILLMOTION_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)
