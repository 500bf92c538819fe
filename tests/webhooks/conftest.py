"""A receiver, and a server whose schedule is a hundred times as fast: 0.05 s to 27 s between two deliveries."""

from collections.abc import Iterator

import httpx2
import pytest
from webhook_client import Webhooks
from webhook_receiver import Receiver, receiving

from serving import Server, serving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("webhooks"), mock_seconds=0.02, webhook_seconds=0.05) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def webhooks(client: httpx2.Client) -> Webhooks:
    return Webhooks(client)
