"""``GET /v1/models/serving``: what each endpoint is made with right now. Ours: fal has no such question."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api.json import json_response
from stillmotion.api.origins import origins
from stillmotion.api.samples import loop_url, photo_url
from stillmotion.service.service import Service
from stillmotion.service.serving import Served


class ServingBoard:
    """For everybody, like the catalogue: who sends a picture may know what it is shown to.

    With ``ask=samples`` the looping videos that are missing are asked for, without the 404 that asking for one is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        site, about = origins(request).site, self._service.about
        asks = request.query_params.get("ask") == "samples"
        return json_response(
            {
                "engine": about.engine,
                "card_samples": about.card_samples,
                "models": [self._described(each, site, asks) for each in self._service.served()],
            }
        )

    def _described(self, served: Served, site: str, asks: bool) -> dict[str, Any]:
        licence, samples = served.licence, self._service.samples
        sample = (samples.ask if asks else samples.find)(self._service.endpoint(served.endpoint))
        return {
            "endpoint_id": served.endpoint,
            "bundle": served.bundle,
            "family": served.family,
            "meant_for": served.meant_for,
            "kind": served.kind,
            "licence": {"name": licence.name, "url": licence.url} if licence else None,
            "warm": served.warm,
            "available": served.available,
            "note": served.note,
            "sample_url": loop_url(site, served.endpoint) if sample else None,
            "photo_url": photo_url(site, served.endpoint),
        }
