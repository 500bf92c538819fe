"""The catalogue, in the order of the ids. Adding an endpoint is one file and one line here."""

from collections.abc import Mapping

from stillmotion.endpoints import ltx_2, ltx_2_3, ltx_2_3_22b_lora, ltx_2_3_quality, ltx_2_19b
from stillmotion.endpoints.endpoint import Endpoint

CATALOGUE: Mapping[str, Endpoint] = {
    module.ENDPOINT.id: module.ENDPOINT for module in (ltx_2, ltx_2_3, ltx_2_19b, ltx_2_3_22b_lora, ltx_2_3_quality)
}
