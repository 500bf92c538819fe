"""Prompts expanded by a server that speaks OpenAI's chat completions: a vLLM, llama.cpp or Ollama beside this one."""

import asyncio
import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import structlog
from PIL import Image
from pydantic import SecretStr

from stillmotion.errors import ConfigurationError
from stillmotion.executor.expansion import (
    EMPTY,
    MAX_TOKENS,
    TEMPERATURE,
    Expansion,
    Shown,
    instructions,
    judge,
    unchanged,
)

log = structlog.get_logger()

MAX_ANSWER = 1 << 20
"""Bytes of an answer; 512 tokens are a few kilobytes."""
PICTURE_SIDE = 1024
"""Longest side of a picture that is sent: more than vision models look at, some 200 kB as JPEG."""
CONNECT_SECONDS = 5.0


class PromptServer:
    """The configured server; safe to share between tasks of one event loop.

    ``base_url``: what comes before ``/chat/completions``. ``vision``: whether ``model`` can see pictures. ``seconds``:
    for one ``expand``, its retry included, which comes after ``backoff`` seconds. Raises ConfigurationError for a URL
    or key that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key: SecretStr | None = None,
        vision: bool = False,
        seconds: float = 60.0,
        backoff: float = 0.5,
    ) -> None:
        self._url = _completions(base_url)
        self._model, self._vision, self._seconds, self._backoff = model, vision, seconds, backoff
        # No redirects, which would carry prompts and key to another host, and nothing from the environment.
        self._client = httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity", **_authorization(key)},
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def expand(self, prompt: str, *, seed: int, picture: Path | None = None, shown: Shown = "first") -> Expansion:
        """The expansion of ``prompt``, or the prompt itself with the reason; raises nothing but cancellation.

        ``picture``: an upright image file that is the ``shown`` frame of the video.
        """
        if not prompt.strip():
            return unchanged(prompt, EMPTY)
        picture = picture if self._vision else None
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._request(prompt, seed, picture, shown)
                return judge(prompt, await self._ask_twice(body))
        except TimeoutError:
            reason = f"the prompt server took more than {self._seconds:g} s"
        except _Failure as failure:
            reason = failure.reason
        log.warning("prompt not expanded", reason=reason)
        return unchanged(prompt, reason)

    async def _request(self, prompt: str, seed: int, picture: Path | None, shown: Shown) -> bytes:
        content: str | list[dict[str, Any]] = prompt
        if picture is not None:
            try:
                uri = await asyncio.to_thread(_data_uri, picture)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise _Failure(f"the picture could not be made smaller ({type(error).__name__})") from error
            content = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": prompt}]
        body = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": instructions(shown if picture else None)},
                {"role": "user", "content": content},
            ],
            "temperature": TEMPERATURE,
            "max_tokens": MAX_TOKENS,
            "seed": seed & 0x7FFFFFFF,  # more bits than some servers take
            "stream": False,
        }
        return json.dumps(body).encode()

    async def _ask_twice(self, body: bytes) -> "_Answer":
        try:
            return await self._ask(body)
        except _Failure as failure:
            if not failure.may_pass:
                raise
        await asyncio.sleep(self._backoff)
        return await self._ask(body)

    async def _ask(self, body: bytes) -> "_Answer":
        try:
            headers = {"Content-Type": "application/json"}
            async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                _check(response)
                return _answer(await _bounded(response))
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise _Failure("the prompt server cannot be reached", may_pass=True) from None
        except httpx2.HTTPError:
            # Not the library's own text: it may quote a header.
            raise _Failure("the prompt server sent no complete HTTP answer", may_pass=True) from None


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    complete: bool


class _Failure(Exception):
    """One try brought nothing; ``may_pass``: the next one may."""

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.may_pass = reason, may_pass


def _completions(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError("expansion_url must be an http or https URL, such as http://127.0.0.1:8080/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError("expansion_url must have no user name, query or fragment; the key is expansion_key")
    return base_url.rstrip("/") + "/chat/completions"


def _authorization(key: SecretStr | None) -> dict[str, str]:
    if key is None:
        return {}
    secret = key.get_secret_value()
    # Refused here, without being quoted: an error of the HTTP library would show the whole header.
    if not secret or not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ConfigurationError("expansion_key must be printable ASCII without spaces")
    return {"Authorization": f"Bearer {secret}"}


def _data_uri(picture: Path) -> str:
    with Image.open(picture) as image:
        small = image.convert("RGB")
        small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _check(response: httpx2.Response) -> None:
    status = response.status_code
    if status != 200:
        raise _Failure(f"the prompt server answered {status}", may_pass=status == 429 or status >= 500)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        # Decoding what was not asked for would let a small answer become a large one.
        raise _Failure("the prompt server sent a compressed answer, which was not asked for")


async def _bounded(response: httpx2.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > MAX_ANSWER:
            raise _Failure(f"the prompt server's answer is longer than {MAX_ANSWER} bytes")
    return bytes(data)


def _answer(data: bytes) -> _Answer:
    try:
        choice = json.loads(data)["choices"][0]
        content = choice["message"]["content"]
        if isinstance(content, list):  # in parts, as some servers send it
            content = "".join(part["text"] for part in content if part.get("type") == "text")
        if not isinstance(content, str):
            raise TypeError
        return _Answer(content, complete=choice.get("finish_reason") != "length")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise _Failure("the prompt server's answer is no chat completion") from None
