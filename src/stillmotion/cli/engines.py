"""``stillmotion engines``: what each engine of a running server does, and the switch that takes one out."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from stillmotion.cli.asking import ask

COLUMNS = ("engine", "state", "loaded", "may hold", "running")


def show_engines(*, url: str | None, data: Path | None) -> int:
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for engine in ask("GET", "/v1/engines", url, data)["engines"]:
        loaded, held = engine["loaded"] or "", ", ".join(engine["models"])
        table.add_row(engine["name"], engine["state"], loaded, held, ", ".join(engine["running"]))
    Console().print(table)
    return 0


def switch_engine(action: str, name: str, *, url: str | None, data: Path | None) -> int:
    """``action``: drain or resume."""
    engine = ask("POST", f"/v1/engines/{name}/{action}", url, data)
    print(f"{engine['name']}: {engine['state']}")
    return 0
