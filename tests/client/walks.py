"""Walks through every method of a client of fal's: programs that know nothing of this project, one server with rules
that their requests meet, and a file that is sent in parts."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving import ENDPOINT, Server, clean_environment, serving, small

SLOTS = 4
MINUTE = 60
RULES: list[dict[str, Any]] = [
    {"action": "delay", "seconds": MINUTE, "match": {"prompt": "^slow"}},
    {"action": "content_policy", "match": {"prompt": "^refused"}},
    {"action": 500, "match": {"prompt": "^broken"}, "message": "CUDA error"},
]


@contextmanager
def walked_server(folder: Path, *rules: dict[str, Any]) -> Iterator[Server]:
    """A server whose rules make some prompts slow, refused or broken, and what more ``rules`` say."""
    file = folder / "rules.json"
    file.write_text(json.dumps({"rules": [*RULES, *rules]}))
    with serving(folder / "data", rules_file=file, mock_slots=SLOTS, mock_seconds=0.1) as server:
        yield server


def large_file(path: Path, mebibytes: int) -> dict[str, Any]:
    """A file of which no two parts are equal: where it is, its size and SHA-256, and the type it is sent with."""
    block, digest = random.Random(7).randbytes(1 << 20), hashlib.sha256()
    with path.open("wb") as file:
        for number in range(mebibytes):
            content = number.to_bytes(4) + block[4:]
            file.write(content)
            digest.update(content)
    return {"path": str(path), "size": path.stat().st_size, "digest": digest.hexdigest(), "type": "application/zip"}


def under_exec(server: Server) -> list[str]:
    """What runs the rest of a command line against a server that runs already."""
    return [sys.executable, "-m", "stillmotion", "exec", "--url", server.https, "--data", str(server.data), "--"]


def walk(command: Sequence[str], told: Mapping[str, Any], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a walk prints: its rows with their faults, and what it used; ``told`` says what it shall do."""
    shared = {"endpoint": ENDPOINT, "arguments": small(), "slots": SLOTS}
    done = subprocess.run(
        [*command, json.dumps({**shared, **told})],
        env=clean_environment() if env is None else env,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def faults(report: Mapping[str, Any]) -> str:
    return "\n".join(f"{row}: {fault}" for row, fault in report["rows"].items() if fault)
