"""Memory does not grow with the number of frames, whatever the container."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from video_files import CONTAINERS

PROGRAM = """
import pathlib, sys
from fractions import Fraction
import numpy as np
from stillmotion.job import Encoding
from stillmotion.media.containers import open_writer

path, container, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = np.random.default_rng(0)
texture = random.integers(60, 120, (500, 700), np.uint8)
encoding = Encoding(container=container, write_mode="fast", quality="low")
with open_writer(path, 320, 180, Fraction(25), encoding, sample_rate=24_000) as writer:
    writer.write_audio(np.zeros((2, 24_000 * count // 25), np.float32))
    for index in range(count):
        corner = index % 120
        writer.write(texture[None, corner : corner + 270, corner : corner + 320])
print(pathlib.Path("/proc/self/status").read_text())
"""


def peak(path: Path, container: str, count: int) -> float:
    """MB of memory that a process had at most, as the kernel counted, while it wrote ``count`` frames of 320x180."""
    command = [sys.executable, "-c", PROGRAM, str(path), container, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's peak memory")
@pytest.mark.parametrize("container", CONTAINERS)
def test_memory_does_not_grow_with_the_clip(tmp_path: Path, container: str) -> None:
    """The 360 further frames are 31 MB as they arrive, their sound another 3 MB."""
    short, long = (peak(tmp_path / "v", container, count) for count in (121, 481))
    assert long - short < 10
