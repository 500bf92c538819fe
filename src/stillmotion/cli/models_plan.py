"""``stillmotion models plan``: how a model fits a device, without the device and without loading the model."""

import json
import re
import subprocess
import sys
from pathlib import Path

from stillmotion.errors import ConfigurationError, OutOfMemory
from stillmotion.executor.bundles import find_bundle
from stillmotion.settings import Settings

_REPORT = """
import sys
from stillmotion.engine.memory_report import report
from stillmotion.errors import StillmotionError
try:
    print(*report(sys.argv[1]), sep="\\n")
except StillmotionError as error:
    sys.exit(error.message)
"""
_SIZE = re.compile(r"(\d+)x(\d+)")
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(GB|GiB)", re.IGNORECASE)
_UNITS = {"gb": 10**9, "gib": 2**30}


def plan(name: str, *, models: Path | None, size: str, frames: int, memory: str, host: str | None, float8: bool) -> int:
    """Raises OutOfMemory, with numbers, where nothing helps."""
    shape = _SIZE.fullmatch(size)
    if shape is None:
        raise ConfigurationError(f"write a size as 1280x704, not {size!r}")
    question = {
        "folder": str(find_bundle(name, Settings.load(models=models).models)),
        "width": int(shape[1]),
        "height": int(shape[2]),
        "num_frames": frames,
        "memory": _bytes(memory),
        "host": None if host is None else _bytes(host),
        "float8": float8,
    }
    # In a process of its own, as the engine always works.
    command = [sys.executable, "-P", "-c", _REPORT, json.dumps(question)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OutOfMemory(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else None)
    print(done.stdout, end="")
    return 0


def _bytes(text: str) -> int:
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"write memory as 24GB or 22.5GiB, not {text!r}")
    return int(float(found[1]) * _UNITS[found[2].lower()])
