"""``/v1/bundles``: the models folder, and pulls with their progress. Ours, for admin keys."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api import platform_parameters as parameters
from stillmotion.api.callers import administrator
from stillmotion.api.json import json_response, read_object
from stillmotion.api.times import iso
from stillmotion.errors import BadRequest
from stillmotion.service.operations import disk
from stillmotion.service.pulls import Pull, Shelved
from stillmotion.service.service import Service

USE = "Used from the next start on: stillmotion serve --model all={name}"


def routes(service: Service) -> list[Route]:
    shelf = _Shelf(service)
    return [
        Route("/bundles", shelf.list, methods=["GET"]),
        Route("/bundles/{name}", shelf.remove, methods=["DELETE"]),
        Route("/bundles/{name}/plan", shelf.plan, methods=["GET"]),
        Route("/bundles/{name}/pull", shelf.pull, methods=["POST"]),
        Route("/bundles/{name}/pull", shelf.progress, methods=["GET"]),
        Route("/bundles/{name}/pull", shelf.stop, methods=["DELETE"]),
    ]


class _Shelf:
    def __init__(self, service: Service) -> None:
        self._service, self._shelf = service, service.shelf

    async def list(self, request: Request) -> Response:
        await administrator(self._service, request)
        bundles = [_described(each, self._shelf.latest(each.name)) for each in await self._shelf.every()]
        return json_response({"folder": str(self._service.about.models), "bundles": bundles})

    async def plan(self, request: Request) -> Response:
        await administrator(self._service, request)
        about = self._service.about
        plan = await self._shelf.plan(request.path_params["name"], parameters.many(request.query_params, "without"))
        return json_response(
            {
                **{name: plan[name] for name in ("name", "source", "parts", "notes", "terms")},
                "to_fetch_bytes": plan["to_fetch"],
                "free_bytes": disk(about.models).free,
                "reserve_bytes": about.min_free,
            }
        )

    async def pull(self, request: Request) -> Response:
        caller = await administrator(self._service, request)
        body = await read_object(request)
        accepted, without = body.get("accept_licence", False), body.get("without", [])
        if not isinstance(accepted, bool):
            raise BadRequest("accept_licence: should be true or false")
        if not isinstance(without, list) or not all(isinstance(part, str) for part in without):
            raise BadRequest("without: should be a list of parts")
        pull = await self._shelf.pull(
            request.path_params["name"], without=without, accepted_by=f"the admin key {caller}" if accepted else None
        )
        return json_response(_pull(pull), 202)

    async def progress(self, request: Request) -> Response:
        await administrator(self._service, request)
        return json_response(_pull(self._shelf.progress(request.path_params["name"])))

    async def stop(self, request: Request) -> Response:
        await administrator(self._service, request)
        return json_response(_pull(await self._shelf.stop(request.path_params["name"])))

    async def remove(self, request: Request) -> Response:
        await administrator(self._service, request)
        await self._shelf.remove(request.path_params["name"])
        return Response(status_code=204)


def _described(shelved: Shelved, pull: Pull | None) -> dict[str, Any]:
    return {
        "name": shelved.name,
        "state": shelved.state,
        "kind": shelved.kind,
        "size_bytes": shelved.size,
        "missing_bytes": shelved.missing,
        "licence": shelved.licence.name if shelved.licence else None,
        "licence_url": shelved.licence.url if shelved.licence else None,
        "accepted": shelved.accepted,
        "used_by": list(shelved.used_by),
        "pull": _pull(pull) if pull else None,
    }


def _pull(pull: Pull) -> dict[str, Any]:
    speed = pull.bytes_per_second
    return {
        "name": pull.name,
        "state": pull.state,
        "started_at": iso(pull.started_at),
        "ended_at": iso(pull.ended_at),
        "size_bytes": pull.size,
        "done_bytes": pull.done,
        "bytes_per_second": None if speed is None else round(speed),
        "files": [
            {"file": name, "size_bytes": file.size, "done_bytes": file.done, "state": file.state}
            for name, file in pull.files.items()
        ],
        "error": pull.error,
        "note": USE.format(name=pull.name) if pull.state == "done" else None,
    }
