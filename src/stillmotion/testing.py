"""fal's API on this machine, for tests of programs that use it: no network, no GPU, no money.

    from stillmotion.testing import emulator

    with emulator() as fal:
        fal.rules.add("content_policy", match={"prompt": "forbidden"}, times=1)
        done = fal.run([sys.executable, "app.py"], check=True)

pytest does this by itself with the plugin of this package: ``pytest --fal``.
"""

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

from stillmotion.cli.private_server import Reached, private_server
from stillmotion.cli.surroundings import fal_names, outside, surroundings
from stillmotion.edge.connect_proxy import connect_proxy
from stillmotion.endpoints.double import double
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.service.rules import Action, parse_rules
from stillmotion.settings import PREFIX

__all__ = ["DEFAULTS", "Emulator", "Endpoint", "FalRules", "double", "emulator"]

DEFAULTS = {"engine": "mock", "offline": "true", "mock_seconds": "0.05"}
"""Settings of an emulator, where neither its caller nor the environment says something else."""


class FalRules:
    """Rules of a running server: which requests fail or wait. They hold for requests that are begun after the call."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rules: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self.clear()

    def add(
        self,
        action: Action,
        *,
        match: Mapping[str, str] | None = None,
        times: int | None = None,
        field: str | None = None,
        type: str | None = None,
        message: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """One more rule, behind those there are; docs/exec.md says what each argument is.

        Raises ConfigurationError for a rule that cannot be.
        """
        told = {
            "match": dict(match) if match else None,
            "times": times,
            "field": field,
            "type": type,
            "message": message,
            "seconds": seconds,
        }
        rule = {"action": action, **{name: value for name, value in told.items() if value is not None}}
        parse_rules([rule])
        # Of its own name each, so that the same rule in the next test is counted anew.
        self._rules.append({"name": f"{action}-{next(self._numbers)}", **rule})
        self._write()

    def clear(self) -> None:
        """No rules but those of ``stillmotion.toml``."""
        self._rules.clear()
        self._write()

    def _write(self) -> None:
        # Replaced at once: the server may read at any moment.
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"rules": self._rules}))
        new.replace(self._file)


class Emulator:
    """A private server, and the environment in which programs reach it under fal's own names."""

    def __init__(self, url: str, environment: Mapping[str, str], rules: FalRules) -> None:
        self.url = url
        """Its https URL; its plain one stands in no need of a certificate, but fal's Python client refuses it."""
        self.environment = environment
        """All variables for a program."""
        self.rules = rules

    def run(self, command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[Any]":
        """Runs a program in that environment; ``options`` are those of ``subprocess.run``."""
        more: Mapping[str, str] = options.pop("env", None) or {}
        return subprocess.run(command, env={**self.environment, **more}, **options)


@contextmanager
def emulator(**settings: Any) -> Iterator[Emulator]:
    """Starts a server of its own, and stops it at the end. ``settings`` are settings of the server.

    By default it has the mock engine and is offline. ``fixtures`` may be a table of URLs and files, or name a file that
    holds one. Raises ConfigurationError if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="stillmotion-emulator-") as folder:
        scratch = Path(folder)
        rules = FalRules(scratch / "rules.json")
        defaults = {name: value for name, value in DEFAULTS.items() if f"{PREFIX}{name.upper()}" not in os.environ}
        given = {**defaults, **{name: _text(value) for name, value in settings.items()}}
        if isinstance(fixtures := settings.get("fixtures"), Mapping):
            given["fixtures"] = str(_fixtures(fixtures, scratch / "fixtures.toml"))
        names = fal_names(scratch / "names")
        with private_server(scratch / "data", None, {**given, "rules_file": str(scratch / "rules.json")}) as url:
            server = Reached.at(url, scratch / "data")
            proxy = connect_proxy(
                (server.host, server.port),
                server.trust,
                names.server_context(),
                # A test's own connections are its own affair: the suite may have a database somewhere.
                outside=outside(offline=False),
            )
            with start_blocking_portal() as portal, portal.wrap_async_context_manager(proxy) as ports:
                yield Emulator(url, surroundings(names, ports), rules)


def _text(value: Any) -> str:
    """A setting's value as an environment variable has it."""
    if isinstance(value, (list, tuple)) and not any(isinstance(item, Mapping) for item in value):
        return ",".join(str(item) for item in value)
    return json.dumps(value) if isinstance(value, (bool, list, tuple)) else str(value)


def _fixtures(files: Mapping[str, str | Path], target: Path) -> Path:
    # A string of JSON is one of TOML.
    lines = [f"{json.dumps(url)} = {json.dumps(str(Path(file).resolve()))}" for url, file in files.items()]
    target.write_text("\n".join(["[fixtures]", *lines]))
    return target
