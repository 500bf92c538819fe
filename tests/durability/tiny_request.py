"""The smallest request: what takes time is the server, not its input."""

import base64
import io
import json
from typing import Any

from http_wire import Connection
from PIL import Image

ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"
SUBMIT = f"/queue/{ENDPOINT}"
RUN = f"/run/{ENDPOINT}"
REQUESTS = "/queue/fal-ai/ltx-2-19b/requests"


def picture_uri() -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def tiny_request(prompt: str, picture: str | None = None) -> bytes:
    """A body of about 400 bytes: nine frames of 64x64 in eight steps, without sound."""
    body = {
        "prompt": prompt,
        "image_url": picture or picture_uri(),
        "num_frames": 9,
        "num_inference_steps": 8,
        "video_size": {"width": 64, "height": 64},
        "generate_audio": False,
    }
    return json.dumps(body).encode()


async def submit(connection: Connection, prompt: str) -> str:
    """The id of a new request."""
    answer = await connection.ask("POST", SUBMIT, tiny_request(prompt))
    assert answer.status == 200, answer
    id: str = answer.json()["request_id"]
    return id


async def status(connection: Connection, id: str) -> dict[str, Any]:
    """A poll, with logs."""
    answer = await connection.ask("GET", f"{REQUESTS}/{id}/status?logs=1")
    assert answer.status in (200, 202), answer
    found: dict[str, Any] = answer.json()
    return found
