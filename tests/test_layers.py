"""Imports point down, and the API side stays light. The picture in ARCHITECTURE.md is this table."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "stillmotion"
ROOT = Path(importlib.util.find_spec(PACKAGE).origin).parent
LAYERS = [
    {"job", "errors"},
    {"hub"},
    {"bundles", "endpoints", "engine", "media", "safety", "store", "files"},
    {"executor"},
    {"service"},
    {"api"},
    {"settings", "tls"},
    {"edge"},
    {"app"},
    {"cli"},
    {"testing"},
    {"pytest_plugin"},
    {"__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
# Half a second of every start, for what few servers do: asking a prompt server or a hub, the mock engine's drawing.
SLOW = {"httpx2", "huggingface_hub", "numpy", "av"}
# Third-party packages that a part may never import, directly or through others of ours.
BANNED = {
    "stillmotion.job": {"pydantic", "torch", "numpy", "sqlalchemy", "starlette"},
    "stillmotion.engine.manifest": {"torch", "pydantic", "starlette", "sqlalchemy", "httpx2"},
    "stillmotion.endpoints.catalogue": {"torch", "starlette", "uvicorn", "sqlalchemy", "httpx2"},
    "stillmotion.engine.official.verify": {"torch", "numpy"},
    "stillmotion.bundles.pull": {"torch", "transformers", "pydantic", "starlette", "sqlalchemy"},
    "stillmotion.safety.configuration": {"torch", "transformers", "pydantic", "starlette", "sqlalchemy"},
    "stillmotion.service.service": {"torch", "diffusers", "starlette", "uvicorn"},
    "stillmotion.app": {"torch", "diffusers", "transformers", "fal_client", *SLOW},
    "stillmotion.cli.serve": {"torch", "diffusers", "transformers", "fal_client", *SLOW},
    "stillmotion.cli.exec": {"torch", "sqlalchemy", *SLOW},
}
# What the API may know of the lower layers: the service, and the plain values that it hands out.
API_MAY = {"stillmotion.store.records", "stillmotion.errors", "stillmotion.job"}


def part(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def imports() -> Iterator[tuple[str, str]]:
    """(importing module, imported module) for every import of ours, wherever in the file it stands."""
    for path in ROOT.rglob("*.py"):
        name = ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name}: relative import"
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            yield from ((name, target) for target in found if target.split(".")[0] == PACKAGE)


def test_every_part_has_a_layer():
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == set(HEIGHT)


def test_imports_point_down():
    wrong = [
        f"{source} -> {target}"
        for source, target in imports()
        if part(source) in HEIGHT
        and part(target) in HEIGHT
        and part(source) != part(target)
        and HEIGHT[part(target)] >= HEIGHT[part(source)]
    ]
    assert wrong == []


def test_only_the_engines_processes_know_the_engine():
    users = {source for source, target in imports() if part(target) == "engine" and part(source) != "engine"}
    # The first process of an engine, a further one on another device, and what both have in memory.
    assert users == {f"stillmotion.executor.{module}" for module in ("host", "follower", "loaded")}


def test_the_api_asks_the_service():
    below = [
        (source, target)
        for source, target in imports()
        if part(source) == "api"
        and part(target) not in {"api", "service"}
        and not any(target.startswith(allowed) for allowed in API_MAY)
    ]
    assert below == []


def test_only_the_top_reads_the_environment():
    readers = {
        path.relative_to(ROOT).parts[0]
        for path in ROOT.rglob("*.py")
        if any(word in path.read_text() for word in ("os.environ", "os.getenv", "getenv("))
    }
    assert readers <= {"cli", "settings.py", "app.py", "testing.py", "pytest_plugin.py"}


@pytest.mark.parametrize("module", BANNED)
def test_light_modules_stay_light(module):
    code = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[0] for name in loaded} & BANNED[module] == set()
