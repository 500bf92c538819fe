"""Requests made up from the served OpenAPI: whatever they are, the server is never at fault.

Only ``not_a_server_error`` is checked. fal's published document contradicts fal's wire (cancel answers 202, errors are
not declared), so the checks that hold the answers against the document would all fail, here as there.
"""

import re
import subprocess
import sys
import time

import pytest

from requirements import need_package
from serving import clean_environment, serving, submit
from stillmotion.endpoints.catalogue import CATALOGUE


@pytest.fixture(scope="module")
def paused(tmp_path_factory):
    """A server whose only runner has been given a request that it does not finish: all others wait in the queue."""
    with serving(tmp_path_factory.mktemp("paused"), mock_slots=1, mock_seconds=600) as server:
        with server.client() as client:
            first = submit(client)
            end = time.monotonic() + 20
            while client.get(first["status_url"]).json()["status"] == "IN_QUEUE":
                assert time.monotonic() < end
                time.sleep(0.02)
        yield server


@pytest.mark.parametrize("id", CATALOGUE)
def test_no_request_is_a_server_error(paused, id, tmp_path):
    need_package("schemathesis", "pip install 'stillmotion[dev]'")
    options = ["--checks", "not_a_server_error", "--max-examples", "20", "--seed", "1", "--no-color"]
    url = f"{paused.http}/api/openapi/queue/openapi.json?endpoint_id={id}"
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", url, *options],
        env=clean_environment({"NO_PROXY": "127.0.0.1"}),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"Operations:\s+4 selected / 4 total", done.stdout), done.stdout
