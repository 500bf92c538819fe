"""``stillmotion models plan`` as a person uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

from serving import clean_environment


@pytest.fixture
def plan(tiny_models: Path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stillmotion", "models", "plan", *arguments, "--models", str(tiny_models)]
        return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)

    return run


def test_a_plan_is_printed(plan) -> None:
    done = plan("tiny-ltx-2.3", "--memory", "24GB", "--host", "64GiB")
    assert done.returncode == 0, done.stderr
    first, titles, *phases = done.stdout.splitlines()
    assert first.startswith("tiny-ltx-2.3 is resident; ")
    assert "21.35 GiB to use on the device, 64.00 GiB on the host" in first
    assert titles.split() == ["phase", "weights", "work", "together"]
    assert [line.split("  ")[0] for line in phases] == ["text", "image", "denoise 1", "decode video", "decode audio"]


def test_what_does_not_fit_is_told_with_numbers(plan) -> None:
    done = plan("tiny-ltx-2", "--memory", "1GiB", "--size", "640x640", "--frames", "25")
    assert done.returncode != 0
    assert "GiB more were needed" in done.stderr
    assert "0 MiB can be used. What would help: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--memory", "24"), "write memory as 24GB or 22.5GiB, not '24'"),
        (("--memory", "24GB", "--size", "720p"), "write a size as 1280x704, not '720p'"),
    ],
)
def test_what_cannot_be_read_is_told(plan, arguments: tuple[str, ...], told: str) -> None:
    done = plan("tiny-ltx-2", *arguments)
    assert done.returncode != 0
    assert told in done.stderr
