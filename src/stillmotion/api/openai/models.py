"""``/models``: the endpoints, and the names that a setting gives them for programs that know other ones."""

from collections.abc import Iterator, Mapping

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api.callers import tenant
from stillmotion.api.json import json_response
from stillmotion.api.openai import wire
from stillmotion.api.openai.faults import Refused
from stillmotion.errors import ConfigurationError
from stillmotion.service.service import Service

DEFAULT = "default"
"""The name for requests that have none."""


class Models:
    def __init__(self, service: Service, aliases: Mapping[str, str]) -> None:
        """Raises ConfigurationError for the alias of an endpoint that there is not."""
        self._service, self._aliases = service, aliases
        for name, id in aliases.items():
            if id not in service.endpoints:
                raise ConfigurationError(f"openai_models: {name}={id}: there is no endpoint {id!r}")

    def endpoint_id(self, name: str | None) -> str:
        """The endpoint that a client means. Raises Refused."""
        id = self._aliases.get(name or DEFAULT, name)
        if id is None:
            raise Refused("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
        if id not in self._service.endpoints:
            raise _unknown(id)
        return id

    async def list(self, request: Request) -> Response:
        await tenant(self._service, request)
        return json_response({"object": "list", "data": [wire.model(name) for name in self._names()]})

    async def one(self, request: Request) -> Response:
        await tenant(self._service, request)
        name = request.path_params["endpoint"]
        if name not in self._names():
            raise _unknown(name)
        return json_response(wire.model(name))

    def _names(self) -> Iterator[str]:
        yield from self._service.endpoints
        yield from (name for name in self._aliases if name != DEFAULT)


def _unknown(name: str) -> Refused:
    return Refused(f"The model '{name}' does not exist.", param="model", code="model_not_found", status=404)
