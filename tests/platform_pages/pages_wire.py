"""What several tests of the pages' requests need."""

import subprocess
import sys
from pathlib import Path

from serving import clean_environment

PHOTOGRAPH = "http://127.0.0.1/samples/coffee.png"
"""On any server, whatever its port: it is found inside the process."""
WIDE = {"host": "127.1", "safety": "off", "mock_seconds": 0.05}
"""127.1 is 127.0.0.1 to the system and an address like any other to the server, which asks for keys there."""


def make_key(data: Path, name: str, *options: str) -> dict[str, str]:
    """The header of a new key."""
    command = [sys.executable, "-m", "stillmotion", "keys", "create", name, *options, "--data", str(data)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {"authorization": f"Key {done.stdout.strip()}"}
