"""The plugin for pytest, and the emulator behind it, on small suites as a user would write them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from requirements import need_package, need_program
from serving import ENDPOINT, clean_environment
from stillmotion.errors import ConfigurationError
from stillmotion.testing import emulator

SUITE = f"""
import asyncio, os, subprocess
import fal_client
import pytest

ENDPOINT = {ENDPOINT!r}
ARGUMENTS = {{
    "prompt": "a cat", "image_url": "https://pictures.example.com/cat.png", "num_frames": 9,
    "video_size": {{"width": 64, "height": 64}},
}}


def test_sync():
    updates = []
    result = fal_client.subscribe(ENDPOINT, ARGUMENTS, with_logs=True, on_queue_update=updates.append)
    assert result["video"]["num_frames"] == 9
    assert updates
    url = fal_client.upload(b"hello", "text/plain")
    assert url.startswith("https://v3.fal.media/files/")


async def make():
    client = fal_client.AsyncClient()
    handle = await client.submit(ENDPOINT, ARGUMENTS)
    return await handle.get()


def test_async():
    assert asyncio.run(make())["video"]["width"] == 64


def test_rules(fal_rules):
    fal_rules.add("content_policy", match={{"prompt": "cat"}}, times=1)
    with pytest.raises(fal_client.FalClientHTTPError) as error:
        fal_client.run(ENDPOINT, ARGUMENTS)
    assert error.value.status_code == 422
    assert error.value.response.json()["detail"][0]["type"] == "content_policy_violation"
    assert fal_client.run(ENDPOINT, ARGUMENTS)["video"]


@pytest.mark.parametrize("again", [1, 2])
def test_rules_are_counted_anew_and_end_with_their_test(fal_rules, again):
    assert fal_client.run(ENDPOINT, ARGUMENTS)["video"]
    fal_rules.add(504, times=1)
    with pytest.raises(fal_client.FalClientHTTPError) as error:
        fal_client.run(ENDPOINT, ARGUMENTS)
    assert error.value.status_code == 504
    fal_rules.add("crash", match={{"endpoint": "*/image-to-video"}}, times=1)
    assert fal_client.run(ENDPOINT, ARGUMENTS)["video"]


def test_a_rule_that_cannot_be(fal_rules):
    with pytest.raises(Exception, match="seconds"):
        fal_rules.add("delay")


def test_programs_too(fal_server):
    url = "https://queue.fal.run/fal-ai/ltx-2/requests/none/status"
    for run in (fal_server.run, subprocess.run):
        assert run(["curl", "-sS", url], capture_output=True, text=True).stdout == '{{"status":"NOT_FOUND"}}'
"""

IMPORTED_EARLY = """
import fal_client, os
assert os.environ["FAL_KEY"] and "FAL_RUN_HOST" not in os.environ
client = fal_client.SyncClient()
"""


def run_suite(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        *options,
        str(folder),
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_suite_that_knows_nothing_of_us_but_an_option(tmp_path):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    need_program("curl")
    (tmp_path / "test_user.py").write_text(SUITE)
    (tmp_path / "conftest.py").write_text(IMPORTED_EARLY)
    done = run_suite(tmp_path, "-p", "stillmotion.pytest_plugin", "--fal", FAL_RUN_HOST="elsewhere.example")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "7 passed" in done.stdout


def test_a_configuration_in_the_file_and_settings_in_the_environment(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nfal = true\naddopts = -p stillmotion.pytest_plugin\n")
    (tmp_path / "test_user.py").write_text("import os\n\ndef test_it():\n    assert 'HTTPS_PROXY' in os.environ\n")
    assert run_suite(tmp_path).returncode == 0
    broken = run_suite(tmp_path, STILLMOTION_ENGINE="steam")
    assert broken.returncode == 4
    assert "engine" in broken.stderr


def test_without_the_option_nothing_is_changed_and_a_server_is_there_for_who_asks(tmp_path):
    need_program("curl")
    (tmp_path / "test_user.py").write_text(
        "import os\n\n"
        "def test_environment():\n"
        "    assert not {'HTTPS_PROXY', 'FAL_KEY'} & os.environ.keys()\n\n"
        "def test_server(fal_server):\n"
        "    url = 'https://queue.fal.run/fal-ai/ltx-2/requests/none/status'\n"
        "    done = fal_server.run(['curl', '-sS', url], capture_output=True, text=True)\n"
        "    assert 'NOT_FOUND' in done.stdout\n"
        "    assert 'HTTPS_PROXY' not in os.environ\n"
    )
    environment = {name: "" for name in ("HTTPS_PROXY",) if name in os.environ}
    done = run_suite(tmp_path, "-p", "stillmotion.pytest_plugin", **environment)
    assert done.returncode == 0, done.stdout


def test_an_emulator_with_settings_of_its_own():
    need_program("curl")
    with emulator(max_prompt_chars=5) as fal:
        fal.rules.add(500, message="never asked")
        script = (
            f"curl -sS https://fal.run/{ENDPOINT} -H 'content-type: application/json' "
            """-d '{"prompt": "too long", "image_url": "https://a.example/b.png"}'"""
        )
        assert "sequence_too_long" in fal.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
        assert fal.run(["sh", "-c", "exit $X"], env={"X": "3"}).returncode == 3
    with pytest.raises(ConfigurationError, match="engine"), emulator(engine="steam"):
        pass


LEAVING = """
import gc, socket, ssl
from stillmotion.testing import emulator
with emulator() as fal:
    trust = ssl.create_default_context(cafile=fal.environment["SSL_CERT_FILE"])
    plain = socket.create_connection(("127.0.0.1", int(fal.environment["STILLMOTION_EXEC_TLS_PORT"])), 30)
    client = trust.wrap_socket(plain, server_hostname="fal.run")
    client.sendall(b"GET / HTTP/1.1\\r\\nhost: fal.run\\r\\n\\r\\n")
    assert client.recv(9) == b"HTTP/1.1 "
# It has not answered TLS's goodbye, as programs do not that have gone on to something else.
gc.collect()
client.close()
"""


def test_connections_that_are_still_open_at_its_end_are_cut():
    """A suite that takes warnings for errors must not fail for what the emulator left behind."""
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", LEAVING]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
