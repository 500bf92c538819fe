"""fal's shapes: how a request looks to its client. Hosts are those the client used; nothing is stored with one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from stillmotion.api.faults import error_type
from stillmotion.service.service import Receipt, View
from stillmotion.store.records import LogLine

QUEUE_PREFIX = "/queue"


def request_urls(origin: str, app: str, id: str) -> dict[str, str]:
    """The three URLs of a request: application only, no endpoint sub-path, as both clients rebuild them."""
    base = f"{origin}{QUEUE_PREFIX}/{app}/requests/{id}"
    return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def submitted(origin: str, receipt: Receipt) -> dict[str, Any]:
    return {
        "status": "IN_QUEUE",
        "request_id": receipt.id,
        **request_urls(origin, receipt.app, receipt.id),
        "logs": None,
        "metrics": {},
        "queue_position": receipt.queue_position,
    }


def status(origin: str, view: View) -> dict[str, Any]:
    """IN_QUEUE, IN_PROGRESS or COMPLETED; how a request ended is told beside COMPLETED, never by another status."""
    request = view.request
    shared = {"request_id": request.id, **request_urls(origin, request.app, request.id), "logs": _logs(view.logs)}
    if request.state == "queued":
        return {"status": "IN_QUEUE", **shared, "queue_position": view.queue_position}
    if request.state == "running":
        return {"status": "IN_PROGRESS", **shared}
    body = {"status": "COMPLETED", **shared, "metrics": {"inference_time": request.inference_seconds}}
    if request.error:
        body |= {"error": request.error.message, "error_type": error_type(request.error)}
    return body


def output(origin: str, stored: Any) -> Any:
    """A stored output with absolute URLs: paths of ours begin with a slash, and only ``url`` fields hold them."""
    if isinstance(stored, dict):
        return {
            key: origin + value
            if key == "url" and isinstance(value, str) and value.startswith("/")
            else output(origin, value)
            for key, value in stored.items()
        }
    return stored


def _logs(lines: Sequence[LogLine] | None) -> list[dict[str, Any]] | None:
    if lines is None:
        return None
    return [
        {
            "message": line.message,
            "level": line.level,
            "source": "USER",
            "timestamp": datetime.fromtimestamp(line.at, UTC).isoformat().replace("+00:00", "Z"),
        }
        for line in lines
    ]
