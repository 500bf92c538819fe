"""Prompts expanded by a server: real sockets, and every way in which a server can fail."""

import asyncio
import base64
import gzip
import io
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from chat_server import Answer, ChatServer, chat_server, chunked, completion, endless, http, said
from PIL import Image
from pydantic import SecretStr

from stillmotion.errors import ConfigurationError
from stillmotion.job import Job, Keyframe
from stillmotion.service.expansion import expand_for
from stillmotion.service.prompt_server import MAX_ANSWER, PICTURE_SIDE, PromptServer

PROMPT = "a robot dancing in the rain"
PROSE = "A silver robot dances on wet stones at night while rain patters and a saxophone plays. The camera circles it."
SECRET = "sk-4f1c9a77d2"


@asynccontextmanager
async def asking(*answers: Answer, **options: object) -> AsyncIterator[tuple[ChatServer, PromptServer]]:
    async with chat_server(*answers) as chat:
        prompts = PromptServer(chat.url, "writer-7b", backoff=0.01, **options)
        try:
            yield chat, prompts
        finally:
            await prompts.close()


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "image_url.png"
    Image.linear_gradient("L").resize((1600, 800)).convert("RGB").save(path)
    return path


def make_job(**fields: object) -> Job:
    values = {
        "model": "m",
        "prompt": PROMPT,
        "negative_prompt": "",
        "width": 64,
        "height": 64,
        "num_frames": 9,
        "fps": 24.0,
        "seed": 3,
        "audio": True,
        "keyframes": (Keyframe(image="image_url", frame=0),),
        "stages": (),
        "expand_prompt": True,
    }
    return Job(**(values | fields))


async def test_asks_as_the_protocol_says_and_takes_the_tidied_answer() -> None:
    async with asking(said(f'Here is the prompt:\n"{PROSE}"'), key=SecretStr(SECRET)) as (chat, prompts):
        expansion = await prompts.expand(PROMPT, seed=2**40 + 5)
    assert expansion.expanded
    assert expansion.text == PROSE
    [(line, headers, body)] = chat.requests
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["content-type"] == "application/json"
    system, user = body.pop("messages")
    assert body == {"model": "writer-7b", "temperature": 0.7, "max_tokens": 512, "seed": 5, "stream": False}
    assert system["role"] == "system"
    assert "one flowing paragraph" in system["content"]
    assert user == {"role": "user", "content": PROMPT}


async def test_without_a_key_no_authorization_is_sent() -> None:
    async with asking(said(PROSE)) as (chat, prompts):
        await prompts.expand(PROMPT, seed=1)
    assert "authorization" not in chat.requests[0][1]


@pytest.mark.parametrize(
    "answer",
    [
        chunked(completion(PROSE)),
        said([{"type": "text", "text": PROSE[:20]}, {"type": "text", "text": PROSE[20:]}]),
        [0.2, *said(PROSE)],
    ],
    ids=["chunked", "parts", "late"],
)
async def test_takes_every_shape_of_a_good_answer(answer: Answer) -> None:
    async with asking(answer) as (_, prompts):
        assert (await prompts.expand(PROMPT, seed=1)).text == PROSE


async def test_an_answer_that_was_cut_ends_with_a_whole_sentence() -> None:
    async with asking(said(PROSE[:-5], "length")) as (_, prompts):
        assert (await prompts.expand(PROMPT, seed=1)).text == PROSE.partition(" The")[0]


async def test_the_picture_is_sent_small_where_the_model_sees(photograph: Path) -> None:
    async with asking(said(PROSE), vision=True) as (chat, prompts):
        await prompts.expand(PROMPT, seed=1, picture=photograph, shown="last")
    system, user = chat.requests[0][2]["messages"]
    assert "the last frame" in system["content"]
    image, text = user["content"]
    assert text == {"type": "text", "text": PROMPT}
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert sent.size == (PICTURE_SIDE, PICTURE_SIDE // 2)


async def test_the_picture_is_kept_from_a_model_that_does_not_see(photograph: Path) -> None:
    async with asking(said(PROSE)) as (chat, prompts):
        await prompts.expand(PROMPT, seed=1, picture=photograph)
    system, user = chat.requests[0][2]["messages"]
    assert "frame of the video" not in system["content"]
    assert user["content"] == PROMPT


@pytest.mark.parametrize("damaged", [b"", b"\x89PNG\r\n\x1a\n nothing"])
async def test_a_picture_that_cannot_be_read_leaves_the_prompt(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(damaged)
    async with asking(said(PROSE), vision=True) as (chat, prompts):
        expansion = await prompts.expand(PROMPT, seed=1, picture=tmp_path / "broken.png")
    assert expansion.text == PROMPT
    assert "the picture could not be made smaller" in expansion.note
    assert chat.requests == []


@pytest.mark.parametrize(
    "first",
    [
        http(500),
        http(503),
        http(429),
        [b"garbage\r\n\r\n", None],
        [None],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{", None],
    ],
    ids=["500", "503", "429", "garbage", "mute", "half"],
)
async def test_what_may_pass_is_tried_once_more(first: Answer) -> None:
    async with asking(first, said(PROSE)) as (chat, prompts):
        assert (await prompts.expand(PROMPT, seed=1)).text == PROSE
    assert len(chat.requests) == 2


@pytest.mark.parametrize(
    ("answer", "tries", "reason"),
    [
        (http(500, b"x" * 100), 2, "answered 500"),
        (http(401, f'{{"error": "Incorrect API key provided: {SECRET}"}}'.encode()), 1, "answered 401"),
        (http(404), 1, "answered 404"),
        (http(302, location="http://169.254.169.254/"), 1, "answered 302"),
        (http(204), 1, "answered 204"),
        ([b"SSH-2.0-OpenSSH_9.9\r\n", None], 2, "no complete HTTP answer"),
        (http(200, b"<html>"), 1, "no chat completion"),
        (http(200, b"[" * 100_000), 1, "no chat completion"),
        (http(200, b"\xff\xfe"), 1, "no chat completion"),
        (http(200, b"{}"), 1, "no chat completion"),
        (http(200, b'{"choices": []}'), 1, "no chat completion"),
        (http(200, b'{"choices": [{"message": {"content": null}}]}'), 1, "no chat completion"),
        (http(200, b'{"choices": [{"message": {"content": [1]}}]}'), 1, "no chat completion"),
        (http(200, gzip.compress(completion(PROSE)), content_encoding="gzip"), 1, "a compressed answer"),
        (http(200, b" " * (MAX_ANSWER + 1)), 1, f"longer than {MAX_ANSWER} bytes"),
        (said(""), 1, "is empty or was cut off"),
        (said("A robot dances in the rain. " * 60), 1, "repeats itself"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_failure_leaves_the_prompt_and_is_told(
    answer: Answer, tries: int, reason: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with asking(answer, key=SecretStr(SECRET)) as (chat, prompts):
        expansion = await prompts.expand(PROMPT, seed=1)
        assert SECRET not in repr(prompts)
    assert (expansion.text, expansion.expanded) == (PROMPT, False)
    assert reason in expansion.note
    assert expansion.note.endswith("; the prompt is used as it is")
    assert len(chat.requests) == tries
    assert chat.requests[0][1]["authorization"] == f"Bearer {SECRET}"
    printed = capsys.readouterr()
    assert SECRET not in expansion.note + caplog.text + printed.out + printed.err


async def test_an_endless_answer_is_left_after_its_bound() -> None:
    async with asking(endless(0.001)) as (_, prompts):
        assert "longer than" in (await prompts.expand(PROMPT, seed=1)).note


@pytest.mark.parametrize(
    "slow",
    [lambda: [60.0], lambda: [b"HTTP/1.1 200 OK\r\n", 60.0], lambda: endless(60.0)],
    ids=["mute", "head", "drip"],
)
async def test_a_server_that_takes_too_long_is_left(slow: Callable[[], Answer]) -> None:
    async with asking(slow(), seconds=0.3) as (chat, prompts):
        expansion = await prompts.expand(PROMPT, seed=1)
    assert expansion.note == "the prompt server took more than 0.3 s; the prompt is used as it is"
    assert len(chat.requests) == 1


async def test_a_server_that_is_not_there_leaves_the_prompt() -> None:
    async with chat_server(said(PROSE)) as chat:
        url = chat.url
    prompts = PromptServer(url, "m")
    expansion = await prompts.expand(PROMPT, seed=1)
    await prompts.close()
    assert expansion.note == "the prompt server cannot be reached; the prompt is used as it is"


async def test_cancellation_goes_through() -> None:
    async with asking([60.0]) as (chat, prompts):
        task = asyncio.create_task(prompts.expand(PROMPT, seed=1))
        async with asyncio.timeout(10):
            await chat.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_empty_prompt_is_not_sent() -> None:
    async with asking(said(PROSE)) as (chat, prompts):
        assert (await prompts.expand(" ", seed=1)).text == " "
    assert chat.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080/v1",
        "ftp://127.0.0.1/v1",
        "http:///v1",
        "http://u:p@127.0.0.1/v1",
        "http://a/v1?key=1",
        "http://[",
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expansion_url"):
        PromptServer(url, "m")


@pytest.mark.parametrize("key", ["", f"{SECRET}\n", f"{SECRET} ", f"{SECRET}ä", f"{SECRET}\x00"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(ConfigurationError, match="expansion_key") as refused:
        PromptServer("http://127.0.0.1:1/v1", "m", key=SecretStr(key))
    assert SECRET not in str(refused.value)


async def test_a_slash_at_the_end_of_the_url_is_the_same() -> None:
    async with chat_server(said(PROSE)) as chat:
        prompts = PromptServer(f"{chat.url}/", "m")
        await prompts.expand(PROMPT, seed=1)
        await prompts.close()
    assert chat.requests[0][0] == "POST /v1/chat/completions HTTP/1.1"


async def test_a_job_gets_the_servers_prompt_and_the_engine_nothing_to_expand(photograph: Path) -> None:
    async with asking(said(PROSE), vision=True) as (chat, prompts):
        job, expansion = await expand_for(make_job(), {"image_url": str(photograph)}, prompts)
    assert expansion is not None
    assert job == make_job(prompt=PROSE, expand_prompt=False)
    assert len(chat.requests[0][2]["messages"][1]["content"]) == 2


async def test_a_job_that_wants_no_expansion_is_not_sent(photograph: Path) -> None:
    async with asking(said(PROSE)) as (chat, prompts):
        job = make_job(expand_prompt=False)
        assert await expand_for(job, {"image_url": str(photograph)}, prompts) == (job, None)
    assert chat.requests == []


async def test_auto_leaves_the_prompt_to_the_engine_and_off_to_nobody() -> None:
    assert await expand_for(make_job(), {}, "auto") == (make_job(), None)
    job, expansion = await expand_for(make_job(), {}, "off")
    assert job == make_job(expand_prompt=False)
    assert expansion is not None
    assert expansion.note == "prompt expansion is off on this server; the prompt is used as it is"
