"""Where the documents of an endpoint point: everything of ours lies under one origin."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Links:
    """URLs under ``origin``, which is ``scheme://host[:port]`` without a slash at its end."""

    origin: str
    endpoint: str

    @property
    def queue(self) -> str:
        return f"{self.origin}/queue"

    @property
    def run(self) -> str:
        return f"{self.origin}/run/{self.endpoint}"

    @property
    def playground(self) -> str:
        return f"{self.origin}/models/{self.endpoint}"

    @property
    def api(self) -> str:
        return f"{self.playground}/api"

    @property
    def llms(self) -> str:
        return f"{self.playground}/llms.txt"

    @property
    def openapi(self) -> str:
        return f"{self.origin}/api/openapi/queue/openapi.json?endpoint_id={self.endpoint}"
