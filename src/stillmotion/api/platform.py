"""fal's platform API: the catalogue, prices, usage and the history of requests. And the engines, which fal hides."""

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api import platform_bundles, platform_keys, platform_operations, platform_queue, platform_requests
from stillmotion.api import platform_parameters as parameters
from stillmotion.api.access import FileAccessBoard
from stillmotion.api.json import json_response
from stillmotion.api.origins import origins
from stillmotion.api.platform_embedded import EmbeddedReader
from stillmotion.api.platform_engines import EngineBoard
from stillmotion.api.platform_estimate import Estimate
from stillmotion.api.platform_history import History
from stillmotion.api.platform_serving import ServingBoard
from stillmotion.api.platform_usage import UsageReport
from stillmotion.api.samples import Samples
from stillmotion.api.webhooks import WebhookLog
from stillmotion.errors import (
    BadRequest,
    Forbidden,
    MalformedBody,
    NotFound,
    StillmotionError,
    Unauthorized,
    Unavailable,
)
from stillmotion.service.ledger import CURRENCY, Card
from stillmotion.service.service import Service

PAGE, MAX_PAGE = 50, 100
LABELS = {"ltx-2": "LTX-2", "ltx-2.3": "LTX-2.3"}


def create_platform(service: Service) -> Starlette:
    """The application below ``/v1``; its errors have a shape of their own."""
    catalogue, history, engines = _Catalogue(service), History(service), EngineBoard(service)
    webhooks, board = WebhookLog(service), FileAccessBoard(service)
    application = Starlette(
        routes=[
            Route("/models", catalogue.models, methods=["GET"]),
            Route("/models/pricing", catalogue.pricing, methods=["GET"]),
            Route("/models/pricing/estimate", Estimate(service).answer, methods=["POST"]),
            Route("/models/serving", ServingBoard(service).answer, methods=["GET"]),
            Route("/models/usage", UsageReport(service).answer, methods=["GET"]),
            Route("/models/requests/by-endpoint", history.by_endpoint, methods=["GET"]),
            Route("/models/requests/{id}/payloads", history.delete_payloads, methods=["DELETE"]),
            *platform_requests.routes(service),
            Route("/samples", Samples(service).list, methods=["GET"]),
            Route("/embedded-settings", EmbeddedReader(service).answer, methods=["POST"]),
            *platform_operations.routes(service),
            *platform_queue.routes(service),
            *platform_keys.routes(service),
            *platform_bundles.routes(service),
            Route("/engines", engines.list, methods=["GET"]),
            Route("/engines/{name}/drain", engines.drain, methods=["POST"]),
            Route("/engines/{name}/resume", engines.resume, methods=["POST"]),
            Route("/storage/files/acl", board.acl, methods=["GET"]),
            Route("/storage/files/acl", board.set_acl, methods=["PUT"]),
            Route("/storage/files/sign", board.sign, methods=["POST"]),
            Route("/webhooks", webhooks.list, methods=["GET"]),
            Route("/webhooks/{id}", webhooks.one, methods=["GET"]),
            Route("/webhooks/{id}/redeliver", webhooks.redeliver, methods=["POST"]),
        ],
        exception_handlers={
            StillmotionError: _fault,
            HTTPException: _http_fault,
            ClientDisconnect: _gone,
            Exception: _fault,
        },
    )
    application.router.redirect_slashes = False
    return application


class _Catalogue:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, request: Request) -> Response:
        query = request.query_params
        expand = parameters.expansions(query, ("openapi-3.0", "enterprise_status"))
        wanted = self._service.ledger.known(parameters.many(query, "endpoint_id"))
        status = parameters.choice(query, "status", ("active", "deprecated"))
        after = parameters.cursor(query, int)
        most = parameters.limit(query, PAGE, MAX_PAGE)
        words = query.get("q", "").lower().split()
        category = query.get("category")
        found = [
            card
            for card in self._service.ledger.cards()
            if card.id in wanted
            and status != "deprecated"
            and category in (None, "", card.category)
            and all(word in _searched(card) for word in words)
        ]
        first = max(after[0], 0) if after else 0
        models = [self._model(card, expand, origins(request).site) for card in found[first : first + most]]
        return json_response({"models": models, **_more(first + most, len(found))})

    async def pricing(self, request: Request) -> Response:
        query = request.query_params
        after = parameters.cursor(query, int)
        most = parameters.limit(query, PAGE, MAX_PAGE)
        found = self._service.ledger.prices(self._service.ledger.known(parameters.many(query, "endpoint_id")))
        first = max(after[0], 0) if after else 0
        prices = [
            {"endpoint_id": price.id, "unit_price": float(price.unit_price), "unit": price.unit, "currency": CURRENCY}
            for price in found[first : first + most]
        ]
        return json_response({"prices": prices, **_more(first + most, len(found))})

    def _model(self, card: Card, expand: frozenset[str], origin: str) -> dict[str, Any]:
        model: dict[str, Any] = {"endpoint_id": card.id, "metadata": _metadata(card, origin)}
        if "openapi-3.0" in expand:
            model["openapi"] = orjson.loads(self._service.document("openapi", card.id, origin))
        if "enterprise_status" in expand:
            model["enterprise_status"] = "ready"
        return model


def _metadata(card: Card, origin: str) -> dict[str, Any]:
    """fal's fields in fal's order; null where they tell of fal's offer and not of this server."""
    return {
        "display_name": card.title,
        "category": card.category,
        "description": card.summary,
        "status": "active",
        "tags": list(card.tags),
        "updated_at": None,
        "is_favorited": None,
        "thumbnail_url": None,
        "model_url": f"{origin}/models/{card.id}",
        "license_type": None,
        "date": None,
        "group": {"key": card.family, "label": LABELS.get(card.family, card.family)},
        "highlighted": False,
        "kind": card.kind,
        "pinned": False,
    }


def _searched(card: Card) -> str:
    return " ".join((card.id, card.title, card.summary, card.category, *card.tags)).lower()


def _more(following: int, count: int) -> dict[str, Any]:
    has_more = following < count
    return {"next_cursor": parameters.cursor_for([following]) if has_more else None, "has_more": has_more}


def _answer(status: int, type: str, message: str) -> Response:
    return json_response({"error": {"type": type, "message": message}}, status)


async def _fault(request: Request, error: Exception) -> Response:
    match error:
        case NotFound():
            return _answer(404, "not_found", error.message)
        case Unauthorized():
            return _answer(401, "authorization_error", error.message)
        case Forbidden():
            return _answer(403, "authorization_error", error.message)
        case BadRequest() | MalformedBody():
            return _answer(400, "validation_error", error.message)
        case Unavailable():
            return _answer(503, "server_error", error.message)
        case _:
            return _answer(500, "server_error", "Internal server error")


async def _http_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer(404, "not_found", f"Path {request.url.path} not found")
    response = _answer(error.status_code, "validation_error", error.detail)
    response.headers.update(error.headers or {})
    return response


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)
