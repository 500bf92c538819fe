"""Fixtures that several folders of tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from requirements import need_package
from serving import Server, serving

# How long an example takes says more about the machine than about the code.
settings.register_profile("stillmotion", deadline=None)
settings.load_profile("stillmotion")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> None:
    """The suite must not depend on what a developer's shell has set."""
    for name in list(os.environ):
        if name.startswith(("STILLMOTION_", "FAL_")) and name != "STILLMOTION_TEST_REQUIRE":
            del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _heeds_ctrl_c() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, and so would be every program of the tests."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def mock_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One fast server for all tests that leave it as they found it."""
    with serving(tmp_path_factory.mktemp("mock-server"), mock_seconds=0.1, max_body_bytes=3_000_000) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of models with the tiny bundle of each family: ``tiny-ltx-2`` and ``tiny-ltx-2.3``."""
    need_package("torch", "pip install 'stillmotion[engine]'")
    from stillmotion.engine.tiny import build_tiny_bundle

    models = tmp_path_factory.mktemp("models")
    build_tiny_bundle(models / "tiny-ltx-2", "ltx-2")
    build_tiny_bundle(models / "tiny-ltx-2.3", "ltx-2.3")
    return models
