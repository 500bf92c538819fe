"""One question to the platform API of a running server."""

import os
from pathlib import Path
from typing import Any

import httpx2

from stillmotion.cli.running import running_server
from stillmotion.errors import ConfigurationError
from stillmotion.settings import Settings


def ask(method: str, path: str, url: str | None, data: Path | None) -> Any:
    """The JSON that the server at ``url``, or the one that runs on ``data``, answers to the key in ``FAL_KEY``.

    Raises ConfigurationError with its own words when it refuses, and when there is none.
    """
    base = (url or running_server(Settings.load(data=data))["http"]).rstrip("/")
    key = os.environ.get("FAL_KEY")
    headers = {"authorization": f"Key {key}"} if key else {}
    try:
        answer = httpx2.request(method, base + path, headers=headers, timeout=30, trust_env=False)
        body = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise ConfigurationError(f"{base} does not answer as a Stillmotion server: {error}") from error
    if answer.status_code != 200:
        raise ConfigurationError(body.get("error", {}).get("message") or f"{base} answered {answer.status_code}")
    return body
