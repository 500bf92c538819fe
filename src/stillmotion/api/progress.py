"""How far the work is, as events of a stream tell it: steps, the time left, and the newest preview picture."""

import time
from typing import Any

from stillmotion.api import wire
from stillmotion.api.previews import data_uri
from stillmotion.job import Progress
from stillmotion.service.view import View


class ProgressReport:
    """Of one request to one client, which is told every picture once."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._shown: bytes | None = None

    def told(self, view: View) -> dict[str, Any]:
        body = wire.progress(view, self._seconds_left(view.progress))
        if view.preview is not None and view.preview != self._shown:
            self._shown = view.preview
            body["preview"] = data_uri(view.preview)
        return body

    def _seconds_left(self, progress: Progress | None) -> float | None:
        """Of the denoising, by the steps that were seen; stages count alike, whatever they cost. None before there is
        anything to go by."""
        if progress is None:
            return None
        now, done = time.monotonic(), wire.fraction(progress)
        if self._first is None or done < self._first[1]:
            self._first = now, done
        since, from_ = self._first
        return (now - since) / (done - from_) * (1 - done) if done > from_ else None
