"""The documents that users have, and the pages that a server makes of the same endpoints."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

DOCUMENTS = Path(__file__).parents[1] / "endpoints" / "documents"


@pytest.fixture
def client(mock_server) -> Iterator[httpx2.Client]:
    with mock_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def written() -> Callable[[str], str]:
    """The user's document about an endpoint, found by the id that it names as its own."""

    def find(endpoint_id: str) -> str:
        texts = [path.read_text() for path in sorted(DOCUMENTS.glob("*.txt"))]
        (found,) = [
            text
            for text in texts
            if text.startswith(f"{endpoint_id}\n") or f"- **Model ID**: `{endpoint_id}`\n" in text
        ]
        return found

    return find
