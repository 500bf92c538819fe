"""The results page: one section per benchmark, each replaced on its own."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TITLE = """# Benchmark results

Written by `python -m bench`; `python -m bench NAME ...` measures only some and replaces their sections. Numbers depend
on the machine, and on what else it does: compare those of one section with each other.
"""
_HEADING = re.compile(r"^## (\w+): ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one benchmark found."""

    title: str
    method: str
    """How it was measured, for a reader who wants to doubt or to repeat it."""
    rows: Sequence[tuple[str, str]]
    """What, and how much."""
    faults: Sequence[str] = ()
    """Broken promises; a run that has any fails."""

    def markdown(self, name: str, stamp: str) -> str:
        method = textwrap.fill(" ".join(self.method.split()), 119, break_long_words=False, break_on_hyphens=False)
        lines = [f"## {name}: {self.title}", "", method, "", "| what | result |", "|---|---|"]
        lines += [f"| {what} | {result} |" for what, result in self.rows]
        lines += ["", *(f"- **{fault}**" for fault in self.faults), f"*{stamp}*", ""]
        return "\n".join(lines)


def read_sections(path: Path) -> dict[str, str]:
    """The sections of a results page by name, as they stand there; none when there is no page."""
    if not path.exists():
        return {}
    parts = _HEADING.split(path.read_text())[1:]
    return {name: f"## {name}: {body.strip()}\n" for name, body in zip(parts[::2], parts[1::2], strict=True)}


def write_page(path: Path, machine: Mapping[str, str], sections: Mapping[str, str]) -> None:
    table = [
        "| machine of the latest run | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in machine.items()),
    ]
    path.write_text("\n".join([TITLE, *table, "", *sections.values()]))
