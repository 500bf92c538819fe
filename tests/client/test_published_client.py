"""The live tests of fal's own Python client, from its source distribution, unchanged and all of them."""

import ast
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fal_doubles import ENDPOINTS

from requirements import missing, need_package
from serving import clean_environment
from stillmotion.endpoints.catalogue import CATALOGUE

DOUBLES = Path(__file__).with_name("fal_doubles.py")
FILES = ("tests/test_sync_client.py", "tests/test_async_client.py")
LIVE = "fal_client"
"""What is in the name of each test that needs a server; the others of these files patch the client's transport."""


@pytest.fixture(scope="module")
def published(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution of the installed client. It is brought once, by pip as the user has set it up,
    and stays in pytest's cache: pip builds its metadata, which takes 20 seconds."""
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    folder, name = tmp_path_factory.mktemp("published"), f"fal_client-{version('fal-client')}.tar.gz"
    cache = getattr(pytestconfig, "cache", None)
    archive = (cache.mkdir("fal-client") if cache else folder) / name
    if not archive.exists():
        download(archive)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / name.removesuffix(".tar.gz")


def download(archive: Path) -> None:
    wanted = f"fal-client=={version('fal-client')}"
    command = [sys.executable, "-m", "pip", "download", "--no-binary", ":all:", "--no-deps", "--quiet", wanted]
    # In a folder beside it, so that it is moved there whole.
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode:
            missing(f"needs the source distribution of {wanted}: {done.stderr.strip()[-200:]}")
        (Path(folder) / archive.name).replace(archive)


def live_tests(folder: Path) -> list[str]:
    """``FILE::TEST`` for every test that needs a server, read from the files themselves."""
    return [
        f"{Path(file).stem}::{node.name}"
        for file in FILES
        for node in ast.parse((folder / file).read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith(f"test_{LIVE}")
    ]


def test_the_published_clients_live_tests(published, tmp_path):
    report = tmp_path / "report.xml"
    suite = [sys.executable, "-m", "pytest", *FILES, "-k", LIVE, "-p", "pytest_asyncio.plugin", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "stillmotion", "exec", "--engine", "mock", "--offline", "--", *suite],
        cwd=published,
        env=clean_environment(
            {
                "STILLMOTION_ENDPOINT_FILES": str(DOUBLES),
                "STILLMOTION_MOCK_SECONDS": "0.2",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTEST_ADDOPTS": "-p no:cacheprovider",
            }
        ),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = ElementTree.parse(report).getroot().findall(".//testcase")
    passed = [f"{case.attrib['classname'].split('.')[-1]}::{case.attrib['name']}" for case in cases if not len(case)]
    expected = live_tests(published)
    assert passed == expected
    for file in FILES:
        # Should a later version name them otherwise, this must not pass for lack of tests.
        assert {f"{Path(file).stem}::test_fal_client{part}" for part in ("", "_streaming", "_upload")} <= set(expected)


def test_the_doubles_are_the_tests_own():
    assert {"fal-ai/fast-sdxl", "fal-ai/any-llm"} <= {double.id for double in ENDPOINTS}
    assert not {double.id for double in ENDPOINTS} & CATALOGUE.keys()
