"""``stillmotion usage``: what each key used of each endpoint on each day, from the database, server or not."""

from datetime import date, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stillmotion.endpoints.prices import CURRENCY
from stillmotion.service.timeframes import slot_seconds
from stillmotion.service.usage import Total, totals
from stillmotion.settings import Settings
from stillmotion.store.listings import used_by_all
from stillmotion.store.records import Usage
from stillmotion.store.sqlite_snapshot import read_snapshot

Line = tuple[date, str, str, str]
"""Day, key, endpoint and unit."""
WIDTH = 120


def print_usage(*, data: Path | None, since: datetime | None) -> int:
    """Days are those of the local time zone. Raises ConfigurationError when there is no database that can be read."""
    path = Settings.load(data=data).data / "stillmotion.db"
    start = since.timestamp() if since else 0.0
    rows = read_snapshot(path, used_by_all(start=start, slot_seconds=slot_seconds("day")))
    console = Console()
    if not console.is_terminal:
        # A pipe counts as 80 columns, in which the endpoints' names would be folded.
        console = Console(width=WIDTH)
    if not rows:
        console.print("No request has been completed" + (f" since {since:%Y-%m-%d}." if since else " yet."))
        return 0
    console.print(_table(totals(rows, _line)))
    return 0


def _line(row: Usage) -> Line:
    day = datetime.fromtimestamp(row.slot).date()
    return day, row.tenant, row.endpoint, row.charge.unit if row.charge else "not priced"


def _table(lines: dict[Line, Total]) -> Table:
    table = Table(show_footer=True)
    sums = lines.values()
    table.add_column("Day", footer="total")
    table.add_column("Key")
    table.add_column("Endpoint", overflow="fold")
    table.add_column("Requests", f"{sum(total.requests for total in sums)}", justify="right")
    table.add_column("Units", justify="right")
    table.add_column(f"Cost ({CURRENCY})", f"{sum(total.cost for total in sums):.4f}", justify="right")
    table.add_column("GPU s", f"{sum(total.gpu_seconds for total in sums):.1f}", justify="right")
    for (day, key, endpoint, unit), total in sorted(lines.items()):
        units = f"{total.quantity.normalize():f} {unit}" if total.quantity else unit
        cells = (str(total.requests), units, f"{total.cost:.4f}", f"{total.gpu_seconds:.1f}")
        table.add_row(day.isoformat(), key, endpoint, *cells)
    return table
