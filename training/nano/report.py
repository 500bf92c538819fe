"""The figures of an evaluation, and the table they are shown in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str
    goal: str
    met: bool

    @classmethod
    def share(cls, name: str, right: Sequence[bool], goal: float) -> Self:
        value = sum(right) / max(1, len(right))
        return cls(f"{name} ({len(right)})", round(100 * value, 1), "%", f">= {goal:.0%}", value >= goal)

    @classmethod
    def least(cls, name: str, value: float, unit: str, goal: float) -> Self:
        return cls(name, round(value, 2), unit, f">= {goal:g}", value >= goal)

    @classmethod
    def most(cls, name: str, value: float, unit: str, goal: float) -> Self:
        return cls(name, round(value, 2), unit, f"<= {goal:g}", value <= goal)


def markdown(figures: Sequence[Figure], confusion: Mapping[str, Mapping[str, int]]) -> str:
    lines = ["| what | measured | goal | met |", "|---|---|---|---|"]
    lines += [
        f"| {figure.name} | {figure.value:g} {figure.unit} | {figure.goal} | {'yes' if figure.met else 'no'} |"
        for figure in figures
    ]
    if confusion:
        moves = list(confusion)
        lines += ["", "Asked for (rows), nearest true warp (columns):", "", "| | " + " | ".join(moves) + " |"]
        lines += ["|---" * (len(moves) + 1) + "|"]
        lines += [f"| {asked} | " + " | ".join(str(confusion[asked][got]) for got in moves) + " |" for asked in moves]
    return "\n".join(lines) + "\n"
