"""The application below ``/openai/v1``; its errors have OpenAI's shape."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from stillmotion.api.openai import faults
from stillmotion.api.openai.models import Models
from stillmotion.api.openai.videos import Videos
from stillmotion.errors import StillmotionError
from stillmotion.service.service import Service

TAKE_VIDEOS = ("edits", "extensions", "characters")
"""What OpenAI's API does with a video that it is sent."""


def create_openai(service: Service, aliases: Mapping[str, str]) -> Starlette:
    """``aliases``: names that clients may say for endpoints, with the endpoints' ids."""
    models = Models(service, aliases)
    videos = Videos(service, models)
    application = Starlette(
        routes=[
            Route("/models", models.list, methods=["GET"]),
            Route("/models/{endpoint:path}", models.one, methods=["GET"]),
            Route("/videos", videos.create, methods=["POST"]),
            Route("/videos", videos.list, methods=["GET"]),
            *(Route(f"/videos/{verb}", videos.unsupported, methods=["POST"]) for verb in TAKE_VIDEOS),
            Route("/videos/{id}", videos.retrieve, methods=["GET"]),
            Route("/videos/{id}", videos.delete, methods=["DELETE"]),
            Route("/videos/{id}/content", videos.content, methods=["GET"]),
            Route("/videos/{id}/remix", videos.remix, methods=["POST"]),
        ],
        exception_handlers={
            StillmotionError: faults.fault,
            HTTPException: faults.http_fault,
            ClientDisconnect: faults.gone,
            Exception: faults.fault,
        },
    )
    application.router.redirect_slashes = False
    return application
