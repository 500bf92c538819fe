"""Plans or pulls a bundle for another process: ``python -m stillmotion.bundles.pull_program ORDER``.

The order is JSON in the argument; what happens is told as lines of JSON on stdout. A process of its own, because a
pull takes hours, waits in blocking calls, and is stopped by ending it: what is here is kept, and the next one goes on.
"""

import json
import os
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, PARTS
from stillmotion.bundles.plan import Plan, Planner
from stillmotion.bundles.pull import begin, check_space, complete, need, unaccepted
from stillmotion.bundles.shelf import Shelf
from stillmotion.errors import BundleError, ConfigurationError, StillmotionError
from stillmotion.hub import Hub
from stillmotion.job import from_json

TELL_SECONDS = 0.25
"""Least time between two lines about the bytes of one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    name: str
    models: str
    reserve: int
    """Bytes of the disk that stay free."""
    without: tuple[str, ...] = ()
    pull: bool = False
    """False: only the plan is told."""
    accepted_by: str | None = None
    """Who accepts all terms; None: nobody, and a plan with terms that are not accepted is not pulled."""


def main() -> None:
    order = from_json(Order, json.loads(sys.argv[1]))
    # The parent's end closes this pipe, and nothing else ever comes through it.
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    try:
        _run(order)
    except StillmotionError as error:
        _tell(error=error.message, kind=error.kind)


def plans_of(name: str, planner: Planner, without: tuple[str, ...]) -> list[Plan]:
    """What belongs to the bundle ``name``. Raises ConfigurationError, BundleError, FileDownloadError, Unavailable."""
    if strangers := set(without) - PARTS.keys():
        raise ConfigurationError(f"without: takes {', '.join(PARTS)}, not {', '.join(sorted(strangers))}")
    if name == CLASSIFIER.name:
        return [planner.classifier(CLASSIFIER)]
    if name not in BUNDLES:
        raise BundleError(f"no bundle is known as {name!r}; known are {', '.join((*BUNDLES, CLASSIFIER.name))}")
    plans = [planner.known(BUNDLES[name], without=without)]
    return plans if "safety" in without else [*plans, planner.classifier(CLASSIFIER)]


def _run(order: Order) -> None:
    shelf, hub = Shelf(Path(order.models)), Hub()
    planner = Planner(hub)
    plans = plans_of(order.name, planner, order.without)
    with ExitStack() as stack:
        if order.pull:
            for plan in plans:
                stack.enter_context(shelf.locked(plan.name))
        needs = {plan.name: need(plan, shelf) for plan in plans}
        size = sum(missing.to_fetch for missing in needs.values())
        terms = [found for plan in plans for found in unaccepted(plan, shelf)]
        _tell(
            plan={
                "name": order.name,
                "source": plans[0].source,
                "parts": _parts(plans, {item.target for missing in needs.values() for item in missing.items}),
                "files": {item.target: item.file.size for plan in plans for item in needs[plan.name].items},
                "notes": [note for plan in plans for note in plan.notes],
                "to_fetch": size,
                "terms": [
                    {
                        "name": found.terms.name,
                        "url": found.terms.url,
                        "text": found.text,
                        "repositories": list(found.repositories),
                    }
                    for found in terms
                ],
            }
        )
        if not order.pull:
            return
        check_space(shelf.models, size, reserve=order.reserve)
        if any(needs[plan.name].items for plan in plans):
            for plan in plans:
                planner.check_access(plan)
        if terms and order.accepted_by is None:
            raise ConfigurationError("the terms were not accepted: " + ", ".join(found.terms.name for found in terms))
        for plan in plans:
            begin(plan, shelf, accepted_by=order.accepted_by or "", now=datetime.now(UTC).isoformat(timespec="seconds"))
        watcher = _Lines()
        for plan in plans:
            complete(plan, shelf, hub, watcher)
        _tell(done=True)


def _parts(plans: list[Plan], missing: set[str]) -> list[dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {}
    for item in (item for plan in plans for item in plan.items):
        part = parts.setdefault(item.part, {"part": item.part, "size_bytes": 0, "files": 0, "here": True})
        part["size_bytes"] += item.file.size
        part["files"] += 1
        part["here"] = part["here"] and item.target not in missing
    return list(parts.values())


class _Lines:
    """A ``pull.Watcher`` that tells another process, a file's bytes not more often than ``TELL_SECONDS``."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def begin(self, name: str, size: int) -> None:
        self._done[name] = 0
        _tell(file=name, state="fetching", size=size, done=0)

    def advance(self, name: str, count: int) -> None:
        self._done[name] += count
        now = time.monotonic()
        if now - self._told.get(name, 0.0) >= TELL_SECONDS:
            self._told[name] = now
            _tell(file=name, state="fetching", done=self._done[name])

    def checking(self, name: str) -> None:
        _tell(file=name, state="checking", done=self._done[name])

    def finish(self, name: str, how: str) -> None:
        _tell(file=name, state="done")


_LOCK = threading.Lock()


def _tell(**line: Any) -> None:
    with _LOCK:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _end_with(stream: Any) -> None:
    stream.read()
    os._exit(0)


if __name__ == "__main__":
    main()
