"""Every public method of fal's own Python client, synchronous and asynchronous: under ``exec``, and with nothing but
the environment that ``client-env`` prints.

The client runs in a process of its own: it reads its environment at import, and it leaks sockets.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from walks import faults, large_file, under_exec, walk, walked_server

from requirements import need_package
from serving import Server

WALK = [sys.executable, str(Path(__file__).with_name("walk.py"))]
KINDS = ("sync", "async")
WAYS = ("exec", "client-env")
BY_ENVIRONMENT = ("run", "subscribe", "queue", "cancel", "errors", "stream")
"""What is walked with ``client-env``, which changes URLs and nothing else. Uploads and tokens it cannot lead here: the
client knows no variable for their hosts."""
PART_MIB = 101
"""The client sends in parts above 100."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    with walked_server(tmp_path_factory.mktemp("python-walk")) as server:
        yield server


@pytest.fixture(scope="module")
def large(server: Server) -> Iterator[dict[str, Any]]:
    path = server.data.with_name("large.zip")
    yield large_file(path, PART_MIB)
    path.unlink()


@pytest.fixture(scope="module")
def reports(server: Server, large: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for kind in KINDS:
        told = {"kind": kind, "large": large}
        found[kind, "exec"] = walk([*under_exec(server), *WALK], told)
        only = {**told, "only": BY_ENVIRONMENT}
        found[kind, "client-env"] = walk(WALK, only, env=server.environment())
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_row_passes(reports, kind, way):
    report = reports[kind, way]
    assert not faults(report)
    assert len(report["rows"]) == len(BY_ENVIRONMENT) if way == "client-env" else len(report["rows"]) > 12


def test_every_public_member_of_the_client_is_used(reports):
    import fal_client

    members = public_members(fal_client)
    assert {"SyncClient.submit", "AsyncRequestHandle.iter_events", "encode_file"} <= members
    used = {name for report in reports.values() for name in report["used"]}
    assert members <= used, members - used


def test_a_new_member_would_be_missed():
    """The walk fails with a client that can do more."""
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    import fal_client

    class Newer(fal_client.SyncClient):
        def submit_many(self) -> None: ...

    newer = ModuleType("fal_client")
    newer.__dict__.update(vars(fal_client), SyncClient=Newer, ping=newly, ping_async=Newer().submit_many)
    Newer.__name__, Newer.submit_many.__module__ = "SyncClient", "fal_client.client"
    assert public_members(newer) - public_members(fal_client) == {"SyncClient.submit_many", "newly"}


def newly() -> None: ...


def public_members(package: ModuleType) -> set[str]:
    """``Class.method`` of all classes of the package, and its functions; those of its functions that are methods of its
    own two clients are these methods."""
    members = set()
    for name, value in vars(package).items():
        if name.startswith("_"):
            continue
        if inspect.isclass(value):
            # What exceptions and data classes inherit from Python is not the client's.
            own = {name for each in value.__mro__ if each.__module__.startswith("fal_client") for name in vars(each)}
            methods = (name for name in own if callable(getattr(value, name)))
            members |= {f"{value.__name__}.{name}" for name in methods if not name.startswith("_")}
        elif inspect.ismethod(value):
            members.add(f"{type(value.__self__).__name__}.{value.__name__}")
        elif inspect.isfunction(value):
            members.add(value.__name__)
    return members
