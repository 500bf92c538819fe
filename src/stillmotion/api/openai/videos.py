"""``/videos``: made, looked at, downloaded, made anew with another prompt, and deleted."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api import platform_parameters as parameters
from stillmotion.api.callers import tenant
from stillmotion.api.delivery import Told, peer_of
from stillmotion.api.files import file_response
from stillmotion.api.json import json_response, read_object
from stillmotion.api.openai import wire
from stillmotion.api.openai.creation import REFERENCE, Asked, read_creation, required_prompt
from stillmotion.api.openai.faults import Refused, unfit
from stillmotion.api.openai.models import Models
from stillmotion.api.results import receipt_headers
from stillmotion.api.submission import idempotency_key, options
from stillmotion.errors import AlreadyCompleted, NotFound
from stillmotion.service.clips import clip_input
from stillmotion.service.history import Item, Question
from stillmotion.service.service import Service

PAGE, MAX_PAGE = 20, 100
POLL_MILLISECONDS = 500
"""How long the Python client's ``poll`` waits, which would wait for a second on its own."""
STOP_SECONDS = 20.0
"""How long a deletion waits for a running work to end: an engine has ten seconds until it is killed."""
ONE_READER = "sync_mode"
"""Makes an output for the one reader of a result, which this API does not have."""


class Videos:
    def __init__(self, service: Service, models: Models) -> None:
        self._service, self._history, self._models = service, service.history, models

    async def create(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        asked = await read_creation(request)
        endpoint = self._service.endpoint(self._models.endpoint_id(asked.model))
        body = clip_input(endpoint, _input(asked), seconds=asked.seconds, size=asked.size)
        if unknown := [name for name in body if name in endpoint.unknown(body) or name == ONE_READER]:
            raise Refused(f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter")
        tags = {} if asked.model in (None, endpoint.id) else {wire.MODEL_TAG: str(asked.model)}
        if asked.size:
            tags[wire.SIZE_TAG] = f"{asked.size[0]}x{asked.size[1]}"
        return await self._submit(request, owner, endpoint.id, body, tags)

    async def remix(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        source = await self._find(owner, request)
        prompt = required_prompt(await read_object(request))
        if source.request.state != "done":
            raise Refused("The video is not completed, so it cannot be remixed.", code="video_not_ready")
        kept = (await self._history.one(owner, source.request.id)).input
        if kept is None:
            raise Refused("The input of this video was not kept, so it cannot be remixed.")
        body: dict[str, Any] = {**orjson.loads(kept), "prompt": prompt}
        body.pop(ONE_READER, None)
        if source.seed is not None and "seed" in self._service.endpoint(source.request.endpoint).input.model_fields:
            body["seed"] = source.seed
        tags = {name: value for name, value in source.request.tags.items() if name.startswith("openai.")}
        tags[wire.REMIXED_TAG] = wire.video_id(source.request.id)
        return await self._submit(request, owner, source.request.endpoint, body, tags)

    async def unsupported(self, request: Request) -> Response:
        await tenant(self._service, request)
        raise Refused("This server makes videos from pictures; it does not take any.", code="unsupported")

    async def list(self, request: Request) -> Response:
        owner, query = await tenant(self._service, request), request.query_params
        if query.get("order", "desc") != "desc":
            raise Refused("order: only 'desc', the newest first.", param="order", code="invalid_value")
        most = parameters.limit(query, PAGE, MAX_PAGE)
        question = Question(tenant=owner)
        if after := query.get("after"):
            question = replace(question, after=(await self._item(owner, after)).place)
        found = await self._history.page(question, most)
        videos = [await self._video(owner, item) for item in found.items]
        return json_response(wire.page(videos, has_more=found.behind is not None))

    async def retrieve(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        video = await self._video(owner, await self._find(owner, request))
        return json_response(video, headers={"openai-poll-after-ms": str(POLL_MILLISECONDS)})

    async def content(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        variant = request.query_params.get("variant", "video")
        if variant not in ("video", "thumbnail"):
            raise Refused("variant: 'video' or 'thumbnail'.", param="variant", code="invalid_value")
        item = await self._find(owner, request)
        if item.request.state != "done":
            raise Refused("The video is not ready; its status says when it is.", code="video_not_ready")
        name = item.output if variant == "video" else item.poster
        if name is None or item.request.ephemeral:
            raise NotFound(f"There is no {variant} of this video any more.")
        path, stored = await self._service.file(name)
        return file_response(request, path, stored, public=False)

    async def delete(self, request: Request) -> Response:
        """What waits or runs is cancelled first: this API has no other word for that."""
        owner = await tenant(self._service, request)
        found = (await self._find(owner, request)).request
        if found.state in ("queued", "running"):
            await self._stop(owner, found.app, found.id)
        await self._service.ledger.delete_payloads(owner, found.id)
        return json_response({"id": wire.video_id(found.id), "object": "video.deleted", "deleted": True})

    async def _stop(self, owner: str, app: str, id: str) -> None:
        try:
            await self._service.cancel(owner, app, id)
            async with asyncio.timeout(STOP_SECONDS):
                await self._service.wait(owner, app, id)
        except (AlreadyCompleted, NotFound):
            return
        except TimeoutError:
            raise Refused("The video is still being stopped; delete it again in a moment.") from None

    async def _submit(
        self, request: Request, owner: str, endpoint_id: str, body: Mapping[str, Any], tags: Mapping[str, str]
    ) -> Response:
        """Stores the request, unless its input is at fault: that is told at once here, and nothing is stored."""
        told = await self._service.forecast(endpoint_id, body, None)
        if told.error:
            raise unfit(told.error.details) if told.error.details else Refused(told.error.message)
        known = dict(tags)
        if told.num_frames and told.fps:
            known[wire.SECONDS_TAG] = wire.seconds_text(told.num_frames / told.fps)
        if told.width:
            known[wire.SIZE_TAG] = f"{told.width}x{told.height}"
        chosen = options(request)
        chosen = replace(chosen, tags={**chosen.tags, **known})
        key, peer = idempotency_key(request), peer_of(request)
        # The client repeats a POST whose reply it did not get, twice unless it is told otherwise.
        reply = self._service.repeats.expect(lambda: peer.gone)
        try:
            receipt = await self._service.submit(owner, endpoint_id, body, options=chosen, key=key, reply=reply)
            video = await self._video(owner, await self._history.item(owner, receipt.id))
            return Told(json_response(video, headers=receipt_headers(receipt)), reply, peer)
        except BaseException:
            reply.end(written=False)
            raise

    async def _find(self, owner: str, request: Request) -> Item:
        return await self._item(owner, request.path_params["id"])

    async def _item(self, owner: str, video_id: str) -> Item:
        id = wire.request_id(video_id)
        try:
            if id is None:
                raise NotFound
            return await self._history.item(owner, id)
        except NotFound:
            raise NotFound(f"Video with id '{video_id}' not found.") from None

    async def _video(self, owner: str, item: Item) -> dict[str, Any]:
        progress = None
        if item.request.state == "running":
            progress = (await self._service.status(owner, item.request.app, item.request.id)).progress
        return wire.video(item, progress)


def _input(asked: Asked) -> dict[str, Any]:
    """Without the length and the size, which each endpoint says in its own way."""
    body = {**asked.more, "prompt": asked.prompt}
    if asked.picture is not None:
        if "image_url" in body:
            raise Refused(f"Send either '{REFERENCE}' or 'image_url'.", param=REFERENCE, code="invalid_value")
        body["image_url"] = asked.picture
    if "image_url" not in body:
        raise Refused(
            f"Missing required parameter: '{REFERENCE}': a video is made from a picture.",
            param=REFERENCE,
            code="missing_required_parameter",
        )
    return body
