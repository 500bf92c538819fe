"""``python -m bench [NAME ...]``: measures, and writes the sections to ``bench/RESULTS.md``."""

import argparse
import importlib
import sys
from datetime import UTC, datetime

from bench import ROOT
from bench.machine import cores, machine, processor
from bench.report import Section, read_sections, write_page

PAGE = ROOT / "bench/RESULTS.md"
BENCHES = {
    "submits": "bench.submits",
    "polls": "bench.polls",
    "streams": "bench.streams",
    "uploads": "bench.uploads",
    "weight": "bench.weight",
    "first_page": "bench.first_page",
    "stages": "bench.stages",
    "flops": "bench.flops_report",
    "full_size": "bench.full_size_report",
    "encode": "bench.encode_report",
    "kills": "bench.kills",
}
"""Modules with a function ``bench() -> Section``; the one that takes minutes is last."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures, and writes bench/RESULTS.md.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to measure (default: all): {', '.join(BENCHES)}"
    )
    parser.add_argument("--note", default="", help="what a reader should know about the machine")
    options = parser.parse_args()
    if strangers := set(options.names) - set(BENCHES):
        parser.error(f"there is no {', '.join(sorted(strangers))}")
    note = f" ({options.note})" if options.note else ""
    stamp = f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {cores()} cores{note}."
    failed = False
    for name in options.names or BENCHES:
        _say(f"{name} ...")
        try:
            section: Section = importlib.import_module(BENCHES[name]).bench()
        except FileNotFoundError as error:
            # Something to compare with is not installed: what was measured before stays.
            _say(f"{name}: not measured: {error}")
            continue
        sections = {**read_sections(PAGE), name: section.markdown(name, stamp)}
        write_page(PAGE, machine(), {each: sections[each] for each in BENCHES if each in sections})
        for what, result in section.rows:
            _say(f"  {what}: {result}")
        for fault in section.faults:
            _say(f"  BROKEN: {fault}")
        failed = failed or bool(section.faults)
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
