"""Programs for fal's JavaScript client, which ``npm ci --prefix tests/client/js`` installs beside them."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from requirements import need_program

FOLDER = Path(__file__).with_name("js")


def need_js_client() -> None:
    need_program("node")
    if not (FOLDER / "node_modules" / "@fal-ai" / "client").is_dir():
        reason = "needs fal's JavaScript client: npm ci --prefix tests/client/js"
        if os.environ.get("STILLMOTION_TEST_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)


def run_js(program: str, *arguments: str, env: Mapping[str, str], prefix: tuple[str, ...] = ()) -> Any:
    """Runs a module that may import the client; returns the JSON that it prints last."""
    command = [*prefix, "node", "--input-type=module", "-e", program, *arguments]
    # A module on the command line finds packages from the working directory.
    done = subprocess.run(command, cwd=FOLDER, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])
