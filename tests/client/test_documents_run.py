"""Every program that the five documents print runs as it is printed, and gives the video that they promise.

Nothing in a program is changed but the fixed request id of the page, for which the one just submitted stands. Where a
program shows nothing of what it made, a line after it does.
"""

import ast
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import pytest
from document_programs import Program, programs, source
from PIL import Image, ImageOps

from requirements import missing, need_package, need_program
from serving import clean_environment, picture
from stillmotion.testing import Emulator, emulator

NODE_MODULES = Path(__file__).parent / "js" / "node_modules"
PRINTED_ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"
RUN_SECONDS = 120
PROGRAMS = programs()


@dataclass(frozen=True)
class Promise:
    """What a request with the fields of the document's examples, all else left out, comes to by the document."""

    endpoint: str
    width: int
    height: int
    num_frames: int
    fps: int
    cost: str
    """Dollars."""
    image_url: str


PERSON = "https://storage.googleapis.com/falserverless/example_inputs/ltxv-2-i2v-input.jpg"
WARRIORS = "https://v3b.fal.media/files/b/0a90dd31/uJG2pMMJMcnVeC4PmwnAF_image_004.png"
PROMISES = {
    # 1080p, 6 seconds at 25 fps, $0.06 a second.
    "ltx-2": Promise("fal-ai/ltx-2/image-to-video", 1920, 1080, 150, 25, "0.36", PERSON),
    "ltx-2.3": Promise("fal-ai/ltx-2.3/image-to-video", 1920, 1080, 150, 25, "0.36", WARRIORS),
    # auto for a picture of 16:9, 121 frames: 106.309632 megapixels, rounded up to 107, at $0.0018.
    "ltx-2-19b": Promise("fal-ai/ltx-2-19b/image-to-video", 1248, 704, 121, 25, "0.1926", PERSON),
    # The same without rounding, at $0.001805: 0.191888..., up to four places.
    "ltx-2.3-22b-lora": Promise("fal-ai/ltx-2.3-22b/image-to-video/lora", 1248, 704, 121, 24, "0.1919", PERSON),
    # The page has no price; fal published $0.0024075 a megapixel, 107 of them.
    "ltx-2.3-quality": Promise("fal-ai/ltx-2.3-quality/image-to-video", 1248, 704, 121, 24, "0.2576025", PERSON),
}


class Reader:
    """Somebody who tries one program after the other, in a folder of their own, on one server."""

    def __init__(self, fal: Emulator, folder: Path) -> None:
        self.fal = fal
        self.folder = folder
        (folder / "node_modules").symlink_to(NODE_MODULES)
        trust = ssl.create_default_context(cafile=fal.environment["SSL_CERT_FILE"])
        # Looks at what came of the programs under fal's names too.
        self.client = httpx2.Client(proxy=fal.environment["HTTPS_PROXY"], verify=trust, trust_env=False, timeout=30)
        self.seen: set[str] = set()
        self.installed = cache(self._installed)

    def run(self, *command: str, key: bool = True, quiet: bool = True) -> str:
        """What the command prints, and unless ``quiet`` is False nothing on stderr. ``key`` False: without FAL_KEY."""
        unset = () if key else ("env", "-u", "FAL_KEY")
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": RUN_SECONDS, "cwd": self.folder}
        done = self.fal.run([*unset, *command], **options)
        assert done.returncode == 0, done.stderr
        assert not (quiet and done.stderr)
        return str(done.stdout)

    def module(self, program: Program, *, then: str = "", id: str | None = None) -> str:
        """The name of a file with the program, ``then`` after it, and ``id`` in the place of the printed one."""
        need_program("node")
        if not (NODE_MODULES / "@fal-ai").is_dir():
            missing("needs fal's JavaScript client: npm ci --prefix tests/client/js")
        text = program.text
        if id is not None:
            assert text.count(PRINTED_ID) == 1
            text = text.replace(PRINTED_ID, id)
        (self.folder / f"{program}.mjs").write_text(text + then)
        return f"{program}.mjs"

    def call(self, program: Program) -> str:
        """What a program that waits for its video prints."""
        match program.language:
            case "bash":
                need_program("curl")
                return self.run("sh", "-c", program.text, quiet=False)  # curl shows its progress
            case "python":
                need_package("fal_client", "pip install 'stillmotion[demo]'")
                (self.folder / f"{program}.py").write_text(program.text)
                return self.run(sys.executable, f"{program}.py")
            case _:
                return self.run("node", self.module(program))

    @cached_property
    def request_id(self) -> str:
        """Of the page's submit, in a program that has its key from the page's ``fal.config`` alone."""
        configure, submit = of_page("configure"), of_page("submit")
        files = self.module(configure), self.module(submit, then="console.log(request_id);")
        (self.folder / "submit.mjs").write_text("".join(f'import "./{file}";\n' for file in files))
        id = self.run("node", "submit.mjs", key=False).strip()
        for _ in range(RUN_SECONDS * 10):
            if self._status(id) == "COMPLETED":
                return id
            time.sleep(0.1)
        raise AssertionError(f"{id} does not end")

    def _status(self, id: str) -> str:
        answer = self.client.get(f"https://queue.fal.run/fal-ai/ltx-2.3-quality/requests/{id}/status")
        return str(answer.raise_for_status().json()["status"])

    def newest(self, endpoint: str) -> dict[str, Any]:
        """The one request to ``endpoint`` that has ended and was not seen before, in fal's own account of it."""
        answer = self.client.get(
            "https://api.fal.ai/v1/models/requests/by-endpoint",
            params={"endpoint_id": endpoint, "expand": "payloads"},
        )
        items = [item for item in answer.raise_for_status().json()["items"] if item["request_id"] not in self.seen]
        assert len(items) == 1
        self.seen.add(items[0]["request_id"])
        return dict(items[0])

    def _installed(self, text: str) -> None:
        """Runs an install command, of a text the first time only."""
        folder = self.folder / text.split()[0]
        folder.mkdir()
        (folder / "package.json").write_text("{}")
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # It is installed already: nothing is to be changed in the environment of the tests.
            "PIP_NO_INDEX": "1",
            "npm_config_prefer_offline": "true",
            "npm_config_loglevel": "error",
        }
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": RUN_SECONDS}
        done = self.fal.run(["sh", "-c", text], env=environment, **options)
        if done.returncode and text.startswith("npm"):
            without = subprocess.run(["sh", "-c", text], env=clean_environment(environment), **options)
            if without.returncode:
                missing(f"needs the registry of npm: {without.stderr.strip()[-200:]}")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What stands at the documents' outside URLs: two pictures of 16:9 that are nothing alike."""
    folder = tmp_path_factory.mktemp("pictures")
    person, warriors = folder / "person.jpg", folder / "warriors.png"
    person.write_bytes(picture(1280, 720, format="JPEG"))
    ImageOps.invert(Image.open(person)).save(warriors)
    return {PERSON: person, WARRIORS: warriors}


@pytest.fixture(scope="module")
def reader(pictures: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with emulator(fixtures=pictures, mock_seconds=0.4) as fal:
        reader = Reader(fal, tmp_path_factory.mktemp("reader"))
        with reader.client:
            yield reader


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program(program, reader, pictures):
    CHECKS[program.purpose](program, reader, pictures)


def test_every_program_is_among_them():
    """Counted without ``cut``, so that none is overlooked: fences, and on the page what begins a program."""
    for document in PROMISES:
        text = source(document)
        if "```" in text:
            begins = {language: text.count(f"```{language}\n") for language in ("bash", "python", "javascript")}
            # Each document shows three pieces of JSON besides, which are no programs.
            assert (
                text.count("```")
                == 2 * (sum(begins.values()) + 3)
                == 2 * (sum(begins.values()) + text.count("```json"))
            )
        else:
            shell = sum(text.count(f"\n{word} ") for word in ("npm", "export", "pip", "curl"))
            begins = {"bash": shell, "javascript": text.count('import { fal } from "@fal-ai/client";'), "python": 0}
            assert text.count("await fal.") + text.count("fal.config(") == begins["javascript"]
        ours = [program.language for program in PROGRAMS if program.document == document]
        assert {language: ours.count(language) for language in begins} == begins
    assert len(PROGRAMS) == 28
    assert {program.purpose for program in PROGRAMS} == CHECKS.keys()


def test_programs_are_as_printed():
    for program in PROGRAMS:
        assert program.text in source(program.document) + "\n"
        assert program.text.strip()


def test_on_a_private_server(pictures, tmp_path):
    """One of the calls with nothing but ``stillmotion exec``."""
    need_program("curl")
    table = "".join(f"{json.dumps(url)} = {json.dumps(str(path))}\n" for url, path in pictures.items())
    (tmp_path / "fixtures.toml").write_text("[fixtures]\n" + table)
    [program] = [
        each for each in PROGRAMS if (each.document, each.language, each.purpose) == ("ltx-2-19b", "bash", "call")
    ]
    command = ["exec", "--engine", "mock", "--offline", "--fixtures", "fixtures.toml", "--", "sh", "-c", program.text]
    done = subprocess.run(
        [sys.executable, "-m", "stillmotion", *command],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert_promised(PROMISES["ltx-2-19b"], json.loads(done.stdout))


def assert_call(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    promise = PROMISES[program.document]
    printed = reader.call(program)
    request = reader.newest(promise.endpoint)
    output = request["json_output"]
    match program.language:
        case "bash":
            assert json.loads(printed) == output
        case "python":
            *logs, last = printed.strip().split("\n")
            assert ast.literal_eval(last) == output
            assert "attempt 1 of 3" in logs
        case _:
            lines = printed.strip().split("\n")
            assert output["video"]["url"] in printed
            assert lines[-1] == request["request_id"]
            assert lines[0].startswith("attempt 1 of 3 ")
    assert_made(promise, request, reader, pictures)


def assert_made(promise: Promise, request: Mapping[str, Any], reader: Reader, pictures: Mapping[str, Path]) -> None:
    """``request`` gave the promised video at the promised price, and it shows the picture."""
    output = request["json_output"]
    assert_promised(promise, output)
    assert (request["endpoint_id"], request["status_code"]) == (promise.endpoint, 200)
    assert (Decimal(str(request["cost"])), request["currency"]) == (Decimal(promise.cost), "USD")
    file = reader.client.get(output["video"]["url"]).raise_for_status()
    assert (file.headers["content-type"], len(file.content)) == ("video/mp4", output["video"]["file_size"])
    with av.open(BytesIO(file.content)) as container:
        [video], [sound] = container.streams.video, container.streams.audio
        shape = (video.width, video.height, video.frames, video.average_rate)
        assert shape == (promise.width, promise.height, promise.num_frames, Fraction(promise.fps))
        assert float(sound.duration * sound.time_base) == pytest.approx(promise.num_frames / promise.fps, abs=0.1)
        shown = next(container.decode(video)).to_image()
    likeness = {url: alike(shown, Image.open(path)) for url, path in pictures.items()}
    assert max(likeness, key=likeness.__getitem__) == promise.image_url
    assert likeness[promise.image_url] > 0.7, "a window of the picture that moves, in another light"


def assert_promised(promise: Promise, output: Mapping[str, Any]) -> None:
    video = output["video"]
    assert video["url"].startswith("https://v3.fal.media/files/")
    assert video["content_type"] == "video/mp4"
    shape = (promise.width, promise.height, promise.num_frames, promise.fps)
    assert (video["width"], video["height"], video["num_frames"], video["fps"]) == shape
    assert video["duration"] == pytest.approx(promise.num_frames / promise.fps)


def alike(one: Image.Image, other: Image.Image) -> float:
    """Correlation of two pictures at a glance."""
    glances = [np.asarray(image.convert("RGB").resize((16, 9)), float).ravel() for image in (one, other)]
    return float(np.corrcoef(*glances)[0, 1])


def assert_installs(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    need_program(program.text.split()[0])
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    reader.installed(program.text)
    if program.text.startswith("npm"):
        assert (reader.folder / "npm/node_modules/@fal-ai/client/package.json").is_file()


def assert_key(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    upload = reader.module(of_page("upload"), then="console.log(url);")
    printed = reader.run("sh", "-c", f'{program.text}printf "%s " "$FAL_KEY"\nexec node {upload}', key=False)
    key, url = printed.split()
    assert key == "YOUR_API_KEY"
    assert reader.client.get(url).text == "Hello, World!"


def assert_configures(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    assert reader.request_id


def assert_submits(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    id, promise = reader.request_id, PROMISES[program.document]
    request = reader.newest(promise.endpoint)
    assert request["request_id"] == id
    assert_made(promise, request, reader, pictures)
    webhook = reader.client.get(f"https://api.fal.ai/v1/webhooks/{id}").raise_for_status().json()
    assert webhook["url"] == "https://optional.webhook.url/for/results"
    # Offline, it is not looked for.
    assert {delivery["error"] for delivery in webhook["deliveries"]} == {"unreachable"}


def assert_status(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    shown = reader.module(program, then="console.log(JSON.stringify(status));", id=reader.request_id)
    status = json.loads(reader.run("node", shown))
    assert (status["status"], status["request_id"]) == ("COMPLETED", reader.request_id)
    assert status["logs"][0]["message"] == "attempt 1 of 3"


def assert_result(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    printed = reader.run("node", reader.module(program, id=reader.request_id))
    result = reader.client.get(f"https://queue.fal.run/fal-ai/ltx-2.3-quality/requests/{reader.request_id}").json()
    assert_promised(PROMISES[program.document], result)
    assert f"url: '{result['video']['url']}'" in printed
    assert printed.strip().split("\n")[-1] == reader.request_id


def assert_upload(program: Program, reader: Reader, pictures: Mapping[str, Path]) -> None:
    url = reader.run("node", reader.module(program, then="console.log(url);")).strip()
    assert url.startswith("https://v3.fal.media/files/")
    file = reader.client.get(url).raise_for_status()
    assert (file.content, file.headers["content-type"]) == (b"Hello, World!", "text/plain")
    assert url.endswith("hello.txt")


def of_page(purpose: str) -> Program:
    [program] = [each for each in PROGRAMS if (each.document, each.purpose) == ("ltx-2.3-quality", purpose)]
    return program


CHECKS: Mapping[str, Callable[[Program, Reader, Mapping[str, Path]], None]] = {
    "call": assert_call,
    "install": assert_installs,
    "key": assert_key,
    "configure": assert_configures,
    "submit": assert_submits,
    "status": assert_status,
    "result": assert_result,
    "upload": assert_upload,
}
