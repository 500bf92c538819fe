"""Sums over what was used, exact to the last decimal of a price."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from stillmotion.store.records import Usage

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    requests: int = 0
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    gpu_seconds: float = 0.0
    video_seconds: float = 0.0

    def plus(self, usage: Usage) -> "Total":
        charge = usage.charge
        return Total(
            requests=self.requests + usage.requests,
            quantity=self.quantity + (usage.requests * charge.quantity if charge else 0),
            cost=self.cost + (usage.requests * charge.cost if charge else 0),
            gpu_seconds=self.gpu_seconds + usage.gpu_seconds,
            video_seconds=self.video_seconds + usage.video_seconds,
        )


def totals(rows: Iterable[Usage], key: Callable[[Usage], Key]) -> dict[Key, Total]:
    """The total of each group of rows with the same ``key``, in the order in which the groups appear."""
    found: dict[Key, Total] = {}
    for row in rows:
        group = key(row)
        found[group] = found.get(group, Total()).plus(row)
    return found
