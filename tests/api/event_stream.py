"""Reading server-sent events as they come, strictly: what is not a comment or one JSON value is a fault."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

COMMENT = object()


@contextmanager
def following(client: httpx2.Client, url: str, method: str = "GET", **options: Any) -> Iterator[httpx2.Response]:
    with client.stream(method, url, **options) as answer:
        if answer.status_code == 200:
            assert answer.headers["content-type"] == "text/event-stream"
        yield answer


def events(answer: httpx2.Response, *, comments: bool = False) -> Iterator[Any]:
    lines = answer.iter_lines()
    for line in lines:
        if line.startswith(":"):
            if comments:
                yield COMMENT
        else:
            name, _, value = line.partition(": ")
            assert name == "data", line
            yield json.loads(value)
        assert next(lines) == ""
