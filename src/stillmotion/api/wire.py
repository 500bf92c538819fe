"""fal's shapes: how a request looks to its client. Hosts are those the client used; nothing is stored with one."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stillmotion.api.faults import error_type
from stillmotion.job import Progress
from stillmotion.service.service import Receipt
from stillmotion.service.view import View
from stillmotion.store.records import LogLine, State

STATUSES: Mapping[State, str] = {
    "queued": "IN_QUEUE",
    "running": "IN_PROGRESS",
    "done": "COMPLETED",
    "failed": "COMPLETED",
    "cancelled": "COMPLETED",
}


def request_urls(queue: str, app: str, id: str) -> dict[str, str]:
    """The three URLs of a request: application only, no endpoint sub-path, as both clients rebuild them."""
    base = f"{queue}/{app}/requests/{id}"
    return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def submitted(queue: str, receipt: Receipt) -> dict[str, Any]:
    return {
        "status": "IN_QUEUE",
        "request_id": receipt.id,
        **request_urls(queue, receipt.app, receipt.id),
        "logs": None,
        "metrics": {},
        "queue_position": receipt.queue_position,
    }


def status(queue: str, view: View) -> dict[str, Any]:
    """IN_QUEUE, IN_PROGRESS or COMPLETED; how a request ended is told beside COMPLETED, never by another status."""
    request = view.request
    shared = {"request_id": request.id, **request_urls(queue, request.app, request.id), "logs": _logs(view.logs)}
    shared = {"status": STATUSES[request.state], **shared}
    if request.state == "queued":
        return {**shared, "queue_position": view.queue_position}
    if request.state == "running":
        return shared
    body = {**shared, "metrics": {"inference_time": request.inference_seconds}}
    if request.error:
        body |= {"error": request.error.message, "error_type": error_type(request.error)}
    return body


def progress(view: View, seconds_left: float | None) -> dict[str, Any]:
    """An event of a model's stream: where the request stands, in numbers for a progress bar."""
    request, step = view.request, view.progress
    body: dict[str, Any] = {"status": STATUSES[request.state], "request_id": request.id}
    if request.state == "queued":
        return {**body, "queue_position": view.queue_position}
    if step is None:
        return body
    return {
        **body,
        "step": step.step,
        "total": step.total,
        "stage": step.stage + 1,
        "stages": step.stages,
        "percent": round(100 * fraction(step), 1),
        "eta_seconds": None if seconds_left is None else round(seconds_left, 1),
    }


def fraction(progress: Progress) -> float:
    """Of all steps that are done, if every stage has as many as this one."""
    return (progress.stage + progress.step / progress.total) / progress.stages


def output(origin: str, stored: Any) -> Any:
    """A stored output with absolute URLs: paths of ours begin with a slash, and only ``url`` fields hold them."""
    if isinstance(stored, dict):
        return {
            key: origin + value
            if key == "url" and isinstance(value, str) and value.startswith("/")
            else output(origin, value)
            for key, value in stored.items()
        }
    return [output(origin, each) for each in stored] if isinstance(stored, list) else stored


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
