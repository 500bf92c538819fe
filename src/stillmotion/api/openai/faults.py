"""Errors as OpenAI writes them: ``{"error": {"message", "type", "param", "code"}}``.

Its clients repeat a request by themselves on 408, 409, 429 and from 500 on: only what is worth another try has those.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api.json import json_response
from stillmotion.errors import (
    BadRequest,
    FileTooLargeError,
    Forbidden,
    IdempotencyKeyReused,
    MalformedBody,
    NotFound,
    StillmotionError,
    Unauthorized,
    Unavailable,
    ValidationError,
)
from stillmotion.service.clips import MEANS

INVALID, SERVER = "invalid_request_error", "server_error"
PARAMETERS = {**MEANS, "image_url": "input_reference"}
"""Fields of our endpoints that stand for one of OpenAI's."""


class Refused(StillmotionError):
    """A request that this API cannot take, with the parameter at fault, if it is one."""

    kind = BadRequest.kind

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def error(
    status: int, message: str, *, type: str = INVALID, param: str | None = None, code: str | None = None
) -> Response:
    return json_response({"error": {"message": message, "type": type, "param": param, "code": code}}, status)


def parameter(loc: Sequence[str | int]) -> str | None:
    """The parameter that the place of a fault (``body`` and the way to it) stands for."""
    if len(loc) < 2:
        return None
    return PARAMETERS.get(str(loc[1])) or ".".join(map(str, loc[1:]))


def unfit(details: Sequence[Mapping[str, Any]]) -> Refused:
    """The first of the details of faulty input: this shape has room for one."""
    detail = details[0]
    name = parameter(detail["loc"])
    return Refused(f"{name}: {detail['msg']}" if name else detail["msg"], param=name, code=detail["type"])


async def fault(request: Request, error_: Exception) -> Response:
    match error_:
        case Refused():
            return error(error_.status, error_.message, param=error_.param, code=error_.code)
        case ValidationError():
            return await fault(
                request, unfit([{"loc": each.loc, "msg": each.msg, "type": each.type} for each in error_.details])
            )
        case Unauthorized():
            return error(401, error_.message, code="invalid_api_key")
        case Forbidden():
            return error(403, error_.message)
        case NotFound():
            return error(404, error_.message, code="not_found")
        case FileTooLargeError():
            return error(413, error_.message)
        case BadRequest() | MalformedBody() | IdempotencyKeyReused():
            return error(400, error_.message, code=error_.kind)
        case Unavailable():
            return error(503, error_.message, type=SERVER)
        case _:
            return error(500, "Internal server error", type=SERVER)


async def http_fault(request: Request, error_: Exception) -> Response:
    """Unknown paths, wrong methods, and forms that cannot be read."""
    assert isinstance(error_, HTTPException)
    if error_.status_code == 404:
        return error(404, f"Invalid URL ({request.method} {request.url.path})", code="unknown_url")
    response = error(error_.status_code, error_.detail)
    response.headers.update(error_.headers or {})
    return response


async def gone(request: Request, error_: Exception) -> Response:
    return Response(status_code=499)
