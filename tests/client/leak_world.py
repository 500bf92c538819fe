"""Programs for fal on a machine where fal is a trap: each without ``exec``, and all of them under it, while the server
is killed and then ``exec`` itself. Started by ``unshare -Urnm``; prints what came of it."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trap import Trap, isolate
from walks import under_exec

from serving import ENDPOINT, Server, clean_environment, serving, small

HERE = Path(__file__).parent
CURL = """
act() {
  good=0
  for url in https://queue.fal.run/fal-ai/ltx-2/requests/none/status https://v3.fal.media/files/b/none/none; do
    for try in 1 2; do curl -sS -m 10 -o /dev/null $url 2>/dev/null && good=$((good + 1)); done
  done
  echo "[$good, 4]"
}
act
while read -r line; do act; done
"""
SHOW = "import json, os; print(json.dumps(dict(os.environ)), flush=True); input()"


def programs() -> dict[str, list[str]]:
    arguments = [ENDPOINT, json.dumps(small())]
    python = [sys.executable, str(HERE / "leak_caller.py"), *arguments]
    return {
        "sync": [*python, "sync"],
        "async": [*python, "async"],
        "node": ["node", str(HERE / "js" / "leak.mjs"), *arguments],
        "curl": ["sh", "-c", CURL],
        # These have forgotten their proxies.
        "sync, no proxy": [*python, "sync", "no proxy"],
        "async, no proxy": [*python, "async", "no proxy"],
        "node, no proxy": ["node", str(HERE / "js" / "leak.mjs"), *arguments, "no proxy"],
    }


class Program:
    """One that runs, and talks line by line."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )

    def said(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline() or "null")

    def ask(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("again\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


def without_exec(trap: Trap) -> dict[str, Any]:
    """What each program meets where nothing stands between it and fal."""
    found = {}
    for name, command in programs().items():
        if "no proxy" not in name:
            program = Program(command, clean_environment({"FAL_KEY": "an-id:a-secret"}))
            found[name] = {"calls": program.said(), "hits": sorted(set(trap.taken()))}
            program.kill()
    trap.taken()
    return found


def under_one_exec(server: Server) -> dict[str, Any]:
    """What all programs meet, at once, in the environment that ``exec`` makes: while its server lives, when that is
    gone, and when ``exec`` itself is too."""
    exec_ = Program([*under_exec(server), sys.executable, "-c", SHOW], clean_environment())
    environment = exec_.said()
    running = {name: Program(command, environment) for name, command in programs().items()}

    def asked() -> dict[str, Any]:
        for program in running.values():
            program.ask()
        return {name: program.said() for name, program in running.items()}

    phases = {"served": {name: program.said() for name, program in running.items()}}
    server.kill()
    phases["server killed"] = asked()
    exec_.kill()
    phases["exec killed"] = asked()
    for program in running.values():
        program.kill()
    return phases


def main(folder: Path) -> None:
    isolate(folder)
    trap = Trap()
    report = {"without": without_exec(trap)}
    with serving(folder / "data", mock_seconds=0.05) as server:
        report["under"] = under_one_exec(server)
    print(json.dumps({**report, "hits": trap.taken()}))


main(Path(sys.argv[1]))
