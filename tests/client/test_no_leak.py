"""Under ``exec`` nothing reaches fal, whatever fails meanwhile: seen from a trap that has all of fal's names."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from js_client import need_js_client
from trap import can_isolate

from requirements import need_package, need_program
from serving import clean_environment

WORLD = Path(__file__).with_name("leak_world.py")
PROGRAMS = ("sync", "async", "node", "curl")
FORGETFUL = ("sync, no proxy", "async, no proxy", "node, no proxy")
"""They drop the variables that name proxies, and exempt every host. Curl has nothing else, and is not among them."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    need_js_client()
    need_program("curl")
    if not can_isolate():
        reason = "needs namespaces of its own: unshare -Urnm"
        (pytest.fail if os.environ.get("STILLMOTION_TEST_REQUIRE") == "all" else pytest.skip)(reason)
    command = ["unshare", "-Urnm", sys.executable, str(WORLD), str(tmp_path_factory.mktemp("leak"))]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        command, env=clean_environment({"PYTHONPATH": path}), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_trap_catches(report, program):
    """Without ``exec`` it has each program: name and connection, with what the client wanted to be served by."""
    found = report["without"][program]
    assert found["calls"][0] == 0
    assert {"dns queue.fal.run", "tls queue.fal.run", "tls v3.fal.media"} <= set(found["hits"])
    if program in ("sync", "async"):
        assert {"tls queue.falrun.com", "tls falrun.com"} <= set(found["hits"]), "it tries the backup domains"


@pytest.mark.parametrize("program", PROGRAMS + FORGETFUL)
def test_programs_work_until_the_server_is_killed(report, program):
    served, killed, alone = (report["under"][phase][program] for phase in ("served", "server killed", "exec killed"))
    assert served[0] == served[1] > 0
    assert killed[0] == alone[0] == 0
    assert killed[1] >= served[1]
    assert alone[1] >= served[1]


def test_nothing_reaches_fal(report):
    assert report["hits"] == []
