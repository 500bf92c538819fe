"""``/v1/requests``: everything a key asked for, with pictures; one request in full; marks. Ours, not fal's."""

from typing import Any, cast

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stillmotion.api import platform_parameters as parameters
from stillmotion.api import wire
from stillmotion.api.callers import tenant
from stillmotion.api.faults import error_body, error_type, fault_of
from stillmotion.api.json import json_response
from stillmotion.api.origins import Origins, origins
from stillmotion.api.times import iso
from stillmotion.errors import BadRequest
from stillmotion.service.attempt import FILES_PATH
from stillmotion.service.history import MAX_WORDS, Item, Question
from stillmotion.service.ledger import CURRENCY, units
from stillmotion.service.service import Service
from stillmotion.store.records import Error, State, StoredFile

PAGE, MAX_PAGE = 30, 100
MAX_SEARCH = 200
"""Characters of a search."""
STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled")
PLAYED = frozenset({"video/mp4", "video/webm", "image/png"})


def routes(service: Service) -> list[Route]:
    found = _Requests(service)
    return [
        Route("/requests", found.list, methods=["GET"]),
        Route("/requests/{id}", found.one, methods=["GET"]),
        Route("/requests/{id}/pin", found.pin, methods=["PUT"]),
        Route("/requests/{id}/pin", found.unpin, methods=["DELETE"]),
        Route("/requests/{id}/poster", found.poster, methods=["GET"]),
        Route("/requests/{id}/playable", found.playable, methods=["GET"]),
    ]


class _Requests:
    def __init__(self, service: Service) -> None:
        self._service, self._history = service, service.history

    async def list(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        most = parameters.limit(request.query_params, PAGE, MAX_PAGE)
        page = await self._history.page(self._question(owner, request), most)
        return json_response(
            {
                "items": [_described(item, origins(request)) for item in page.items],
                "next_cursor": parameters.cursor_for(page.behind) if page.behind else None,
                "has_more": page.behind is not None,
            }
        )

    async def one(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        whole, own = await self._history.one(owner, request.path_params["id"]), origins(request)
        output = None if whole.output is None else wire.output(own.files, orjson.loads(whole.output))
        # As it is stored: a data URI of 70 MB is not parsed to be written again.
        input = None if whole.input is None else orjson.Fragment(whole.input)
        return json_response({**_described(whole.item, own), "input": input, "output": output})

    async def pin(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        await self._history.pin(owner, request.path_params["id"])
        return json_response({"request_id": request.path_params["id"], "pinned": True})

    async def unpin(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        await self._history.unpin(owner, request.path_params["id"])
        return json_response({"request_id": request.path_params["id"], "pinned": False})

    async def poster(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        return _file(request, await self._history.poster(owner, request.path_params["id"]))

    async def playable(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        return _file(request, await self._history.playable(owner, request.path_params["id"]))

    def _question(self, owner: str, request: Request) -> Question:
        query = request.query_params
        ids = parameters.many(query, "endpoint_id")
        self._service.ledger.known(ids)
        states = frozenset(cast(tuple[State, ...], parameters.many(query, "state")))
        if states - set(STATES):
            raise BadRequest(f"state: should be of {', '.join(STATES)}")
        start, end = parameters.instant(query, "start"), parameters.instant(query, "end")
        after = parameters.cursor(query, float, int)
        # A request that came at ``end`` itself is not included.
        latest = (end.timestamp(), 0) if end else None
        place = (after[0], after[1]) if after else (float("inf"), 0)
        return Question(
            tenant=owner,
            endpoints=ids or None,
            states=states or None,
            start=start.timestamp() if start else float("-inf"),
            after=min(place, latest) if latest else place,
            pinned=parameters.tristate(query, "pinned"),
            words=_words(query.get("q", "")),
        )


def _words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(text.casefold().split()))
    if len(text) > MAX_SEARCH or len(words) > MAX_WORDS:
        raise BadRequest(f"q: should be at most {MAX_WORDS} words of {MAX_SEARCH} characters together")
    if "\0" in text:
        raise BadRequest("q: holds a NUL character")
    return words


def _file(request: Request, stored: StoredFile) -> Response:
    """Where the file is: it has ranges, validators and a name that needs no key."""
    url = origins(request).files + FILES_PATH + stored.name
    if parameters.flag(request.query_params, "redirect", True):
        return RedirectResponse(url, 302, {"cache-control": "no-store"})
    return json_response({"url": url, "content_type": stored.content_type, "size": stored.size})


def _described(item: Item, own: Origins) -> dict[str, Any]:
    request = item.request
    hidden = request.ephemeral or request.private
    ended, started = request.ended_at, request.started_at
    url = None if hidden else _url(own, item.output)
    playable = url if item.content_type in PLAYED else None if hidden else _url(own, item.playable)
    return {
        "request_id": request.id,
        "endpoint_id": request.endpoint,
        "state": request.state,
        "created_at": iso(request.created_at),
        "started_at": iso(started),
        "ended_at": iso(ended),
        "seconds": None if ended is None or started is None else round(ended - started, 6),
        "gpu_seconds": None if request.gpu_seconds is None else round(request.gpu_seconds, 3),
        "cost": float(request.charge.cost) if request.charge else 0.0,
        "currency": CURRENCY,
        "billable_units": units(request.charge),
        "model": request.model,
        "prompt": item.prompt,
        "seed": item.seed,
        "width": item.width,
        "height": item.height,
        "num_frames": item.num_frames,
        "fps": item.fps,
        "duration": item.num_frames / item.fps if item.num_frames and item.fps else None,
        "poster_url": None if hidden else _url(own, item.poster),
        "video_url": url,
        "content_type": item.content_type if url else None,
        "playable_url": playable,
        "pinned": item.pinned,
        "private": request.private,
        "tags": request.tags,
        "error": _error(request.error) if request.error else None,
        "urls": wire.request_urls(own.queue, request.app, request.id),
    }


def _url(own: Origins, name: str | None) -> str | None:
    return None if name is None else own.files + FILES_PATH + name


def _error(error: Error) -> dict[str, Any]:
    return {
        "status_code": fault_of(error.kind).status,
        "error_type": error_type(error),
        "message": error.message,
        "detail": error_body(error)["detail"],
    }
