"""The catalogue. Adding an endpoint is one file and one line here."""

from collections.abc import Mapping

from stillmotion.endpoints import ltx_2_19b
from stillmotion.endpoints.endpoint import Endpoint

CATALOGUE: Mapping[str, Endpoint] = {module.ENDPOINT.id: module.ENDPOINT for module in (ltx_2_19b,)}
