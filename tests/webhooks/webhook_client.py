"""The side of a client that names a receiver."""

from typing import Any

import httpx2

from serving import ENDPOINT, small


class Webhooks:
    """Requests with a webhook, and their delivery logs."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def submit(self, url: str, **fields: Any) -> str:
        """The id of a request whose end is told to ``url``."""
        answer = self.client.post(f"/queue/{ENDPOINT}", params={"fal_webhook": url}, json=small(**fields))
        assert answer.status_code == 200, answer.text
        id: str = answer.json()["request_id"]
        return id

    def log(self, id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/webhooks/{id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def redeliver(self, id: str) -> dict[str, Any]:
        answer = self.client.post(f"/v1/webhooks/{id}/redeliver")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def result(self, id: str) -> httpx2.Response:
        return self.client.get(f"/queue/fal-ai/ltx-2-19b/requests/{id}")

    def keys(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.client.get("/.well-known/jwks.json").json()["keys"]
        return found
