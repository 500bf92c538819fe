"""pytest's plugin: with ``--fal``, whatever the tests do with fal's API happens on this machine.

The environment is set before any test or ``conftest.py`` is imported, so that clients which read it on import find it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stillmotion.testing import Emulator, FalRules

_STACK = pytest.StashKey[ExitStack]()
_EMULATOR = pytest.StashKey["Emulator"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stillmotion", "fal's API on this machine")
    group.addoption("--fal", action="store_true", help="Answer everything the tests send to fal from a private server.")
    parser.addini("fal", "Whether --fal is always meant.", type="bool", default=False)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    _start_if_wanted(early_config)


def pytest_configure(config: pytest.Config) -> None:
    # For a plugin that is named in a conftest.py, which is loaded too late for the hook above.
    _start_if_wanted(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if (stack := config.stash.get(_STACK, None)) is not None:
        stack.close()


def pytest_report_header(config: pytest.Config) -> str | None:
    fal = config.stash.get(_EMULATOR, None)
    return f"fal: answered by stillmotion at {fal.url}" if fal else None


@pytest.fixture(scope="session")
def fal_server(pytestconfig: pytest.Config) -> "Iterator[Emulator]":
    """The server behind fal's names: ``environment`` and ``run`` for programs of their own, ``rules`` for all tests.

    Without ``--fal`` one is started that only such programs reach.
    """
    running = pytestconfig.stash.get(_EMULATOR, None)
    if running is not None:
        yield running
        return
    from stillmotion.testing import emulator

    with emulator() as started:
        yield started


@pytest.fixture
def fal_rules(fal_server: "Emulator") -> "Iterator[FalRules]":
    """Makes requests fail or wait: ``fal_rules.add("content_policy", times=1)``. Its rules end with the test."""
    yield fal_server.rules
    fal_server.rules.clear()


def _start_if_wanted(config: pytest.Config) -> None:
    if _STACK in config.stash or not (config.known_args_namespace.fal or config.getini("fal")):
        return
    from stillmotion.errors import ConfigurationError
    from stillmotion.testing import emulator

    stack = config.stash[_STACK] = ExitStack()
    try:
        config.stash[_EMULATOR] = fal = stack.enter_context(emulator())
    except ConfigurationError as error:
        raise pytest.UsageError(error.message) from None
    stack.enter_context(_environment(fal.environment))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """This process's environment is ``variables``, for a while."""
    before = dict(os.environ)
    _replace(variables)
    try:
        yield
    finally:
        _replace(before)


def _replace(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)
