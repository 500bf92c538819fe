"""One server for the pages' requests, and what asks it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from pages_wire import PHOTOGRAPH

from serving import ENDPOINT, Server, serving, small, wait


@pytest.fixture(scope="session")
def pages_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("pages"), mock_seconds=0.05) as server:
        yield server


@pytest.fixture
def client(pages_server: Server) -> Iterator[httpx2.Client]:
    with pages_server.client() as client:
        yield client


@pytest.fixture
def made(client: httpx2.Client) -> Callable[..., dict[str, Any]]:
    """Submits the smallest request of the photograph that comes with the server, and waits for its end."""

    def make(headers: dict[str, str] | None = None, endpoint: str = ENDPOINT, **fields: Any) -> dict[str, Any]:
        body = {**small(), "image_url": PHOTOGRAPH, **fields}
        answer = client.post(f"/queue/{endpoint}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        request: dict[str, Any] = answer.json()
        wait(client, request)
        return request

    return make
