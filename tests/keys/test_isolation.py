"""Every route there is, asked without a key and with a stranger's, about what is somebody else's."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.routing import Mount, Route, WebSocketRoute
from test_key_commands import WIDE, make_key
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving import APP, ENDPOINT, serving, small, wait
from stillmotion.api.application import create_api
from stillmotion.app import platform
from stillmotion.settings import Settings

PUBLIC = {
    "/",
    "/compare",
    "/operations",
    "/health/live",
    "/health/ready",
    "/.well-known/jwks.json",
    "/rest/.well-known/jwks.json",
    "/api/openapi/queue/openapi.json",
    "/models",
    "/models/style.css",
    "/models/{endpoint:path}/llms.txt",
    "/models/{endpoint:path}/api",
    "/models/{endpoint:path}",
    "/v1/caller",
    "/v1/models",
    "/v1/models/pricing",
    "/v1/models/serving",
    "/v1/samples",
    "/samples/{name}",
    "/samples/thumbnails/{name}",
    "/samples/{endpoint:path}/loop.mp4",
    "/web/access.json",
    "/web/{name}",
}
"""What anybody may read: pages without data, the documents, what the server is made with and shows of itself, whether
it is well, and whose key was sent."""
BY_NAME = re.compile(r"(?!.*/sign$)/(files|cdn)/")
"""Files and uploads under way have names of 160 random bits, and whoever knows one may use it, unless its owner says
otherwise: clients fetch and send them without a key."""


def routes(applications, prefix=""):
    for route in applications:
        if isinstance(route, Mount):
            yield from routes(route.routes, prefix + route.path)
        elif isinstance(route, WebSocketRoute):
            yield "WEBSOCKET", prefix + route.path
        elif isinstance(route, Route):
            for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
                yield method, prefix + route.path


def every_route(data: Path):
    async def read():
        async with platform(Settings(data=data, engine="mock")) as running:
            return sorted(set(routes(create_api(running.service, running.uploads).routes)))

    return asyncio.run(read())


@dataclass
class Handshake:
    status_code: int
    text: str = ""


def handshake(url, headers):
    """How a websocket is answered."""
    try:
        with connect(url, proxy=None, additional_headers=headers):
            return Handshake(101)
    except InvalidStatus as refused:
        return Handshake(refused.response.status_code, refused.response.body.decode())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("isolation"), **WIDE) as server:
        yield server


def test_nothing_is_told_without_a_key_or_to_a_stranger(server, tmp_path):
    alice, bob = make_key(server.data, "alice"), make_key(server.data, "bob")
    with server.client() as client:
        request = client.post(f"/queue/{ENDPOINT}", json=small(prompt="alices own words"), headers=alice).json()
        client.headers.update(alice)
        wait(client, request)
        video = client.get(request["response_url"]).json()["video"]["url"]
        del client.headers["authorization"]
        owner, alias = APP.split("/")
        values = {"owner": owner, "alias": alias, "id": request["request_id"], "endpoint": ENDPOINT, "name": "mock"}
        values |= {"path": "image-to-video", "number": "1", "shard": "0" * 8}

        def ask(method, template, headers):
            path = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: values[found[1]], template)
            if method == "WEBSOCKET":
                return handshake(server.http.replace("http", "ws", 1) + path, headers)
            body = {"json": {"expiration_seconds": 60}, "params": {"url": video}, "headers": headers}
            return client.request(method, path, follow_redirects=False, **body)

        asked = [(method, path) for method, path in every_route(tmp_path) if not BY_NAME.match(path)]
        private = [each for each in asked if each[1] not in PUBLIC]
        assert len(private) > 20
        for method, path in private:
            nobody = ask(method, path, {})
            assert nobody.status_code == 401, f"{method} {path} without a key: {nobody.status_code} {nobody.text[:200]}"
            stranger = ask(method, path, bob)
            told = f"{method} {path} to a stranger: {stranger.status_code} {stranger.text[:200]}"
            assert "alices own words" not in stranger.text, told
            if "{id}" in path or "/files/" in path:
                assert stranger.status_code in (403, 404), told
            else:
                assert request["request_id"] not in stranger.text, told
        for method, path in asked:
            if path in PUBLIC:
                assert ask(method, path, {}).status_code < 500
        # It is all still there for its owner.
        assert client.get(request["response_url"], headers=alice).status_code == 200
        assert client.get(video).status_code == 200
