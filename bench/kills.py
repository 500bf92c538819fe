"""Two hundred kills of the server under load, and what they met."""

import json
import subprocess
import sys
from typing import Any

from bench import DURABILITY
from bench.report import Section

KILLS = 200
METHOD = """`tests/durability/killer.py`: the real server with eight slots of the mock engine, sixteen clients in a
closed loop (submit, poll ten times a second, read result and file), bursts of further submits, and SIGKILL at a random
moment: any, just after a burst of submits, just after a file was finished, or while the server starts. It is started
again on the same data directory each time. What each kill met is read from the database and the folders before the
restart. At the end the clients' record of all answers, the state after every kill and the final database are checked:
nothing accepted is lost, nothing is made twice or half, no end ever changes, every row has its file and, after a
restart, every file its row."""


def bench() -> Section:
    command = [sys.executable, str(DURABILITY / "killer.py"), "--kills", str(KILLS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise RuntimeError(f"the killer ended with status {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    lost, absent = report["lost_and_stored"], report["lost_and_absent"]
    return Section(
        title=f"{report['kills']} kills under load",
        method=METHOD,
        rows=[
            ("broken promises", str(len(report["violations"]))),
            ("kills", f"{report['kills']} in {report['seconds']:.0f} s, seed {report['seed']}"),
            ("moment", ", ".join(f"{way}: {count}" for way, count in sorted(report["ways"].items()))),
            ("requests", f"{report['requests']:,}, in up to {report['most_attempts']} attempts"),
            ("in flight at a kill", f"at least {report['least_in_flight']}"),
            ("submits answered with 200", f"{report['accepted']:,}"),
            ("submits without an answer", f"{lost + absent}: {lost} stored whole, {absent} absent"),
            *(
                (f"met *{state}*", f"{requests:,} requests in {kills} kills")
                for state, (kills, requests) in report["states"].items()
            ),
        ],
        faults=report["violations"],
    )
