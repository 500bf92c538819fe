"""``stillmotion webhooks``: what became of deliveries, telling a receiver again, and a new key to sign with."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from stillmotion.cli.asking import ask
from stillmotion.service.webhook_signing import KEYS_FILE, SigningKeys
from stillmotion.settings import Settings

WEBHOOKS = ("request", "receiver", "state", "deliveries", "next")
DELIVERIES = ("delivery", "at", "answer", "seconds", "next")
MOST = 100
WIDTH = 160


def show_webhooks(*, request: str | None, url: str | None, data: Path | None) -> int:
    """The newest webhooks, or the one of ``request`` with its deliveries."""
    if request is None:
        answer = ask("GET", f"/v1/webhooks?limit={MOST}", url, data)
        _print(_table(WEBHOOKS, map(_webhook, answer["webhooks"])))
        if answer["has_more"]:
            print(f"These are the newest {MOST}; there are more.")
        return 0
    return _show_one(ask("GET", f"/v1/webhooks/{quote(request, safe='')}", url, data))


def redeliver(request: str, *, url: str | None, data: Path | None) -> int:
    return _show_one(ask("POST", f"/v1/webhooks/{quote(request, safe='')}/redeliver", url, data))


def rotate_keys(*, at_once: bool, data: Path | None) -> int:
    begins = SigningKeys(Settings.load(data=data).data / KEYS_FILE).rotate(at_once=at_once)
    print(f"The new key signs from {_time(datetime.fromtimestamp(begins).isoformat())} on.")
    return 0


def _show_one(webhook: dict[str, Any]) -> int:
    _print(_table(WEBHOOKS, [_webhook(webhook)]))
    if webhook["deliveries"]:
        print()
        _print(_table(DELIVERIES, map(_delivery, webhook["deliveries"])))
    return 0


def _webhook(told: dict[str, Any]) -> tuple[str, ...]:
    return told["request_id"], told["url"], told["state"], str(told["attempts"]), _time(told["next_attempt_at"])


def _delivery(told: dict[str, Any]) -> tuple[str, ...]:
    answer = str(told["status"] or told["error"])
    seconds = "" if told["seconds"] is None else f"{told['seconds']:.3f}"
    return str(told["attempt"]), _time(told["at"]), answer, seconds, _time(told["next_attempt_at"])


def _time(text: str | None) -> str:
    """In local time, to the second."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}" if text else ""


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _print(table: Table) -> None:
    console = Console()
    # A pipe counts as 80 columns, in which ids would be folded.
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
