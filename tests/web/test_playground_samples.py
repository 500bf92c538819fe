"""The samples are taken from the clipboard, as a person takes them, and run as they are: for all five endpoints."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import ENDPOINTS, Watched, wait_until
from run_page import set_json

from client.js_client import FOLDER as JAVASCRIPT_FOLDER
from client.js_client import need_js_client
from requirements import need_package, need_program
from serving import Server, clean_environment

# Characters that a shell, Python and JavaScript mind.
PROMPT = "It's a \"cat\" \\ with $HOME, `ticks`, ünïcode 🐈\nand a second line; 'quoted'"
CHANGES = {
    # These two are 6 seconds of 1080p at least, so their frames are the fewest that can be had.
    "fal-ai/ltx-2/image-to-video": {"prompt": PROMPT, "generate_audio": False, "resolution": "1080p"},
    "fal-ai/ltx-2.3/image-to-video": {"prompt": PROMPT, "generate_audio": False, "fps": 24},
    "fal-ai/ltx-2-19b/image-to-video": {"prompt": PROMPT, "num_frames": 9, "video_size": {"width": 64, "height": 64}},
    "fal-ai/ltx-2.3-22b/image-to-video/lora": {
        "prompt": PROMPT,
        "num_frames": 9,
        "loras": [],
        "video_size": {"width": 64, "height": 64},
        "video_cfg_scale": 2.5,
    },
    "fal-ai/ltx-2.3-quality/image-to-video": {"prompt": PROMPT, "num_frames": 9, "resolution": "square"},
}


def curl(program: str, _: Path) -> None:
    need_program("curl")
    subprocess.run(["bash", "-e"], input=f"{program}", env=clean_environment(), text=True, check=True, timeout=90)


def python(program: str, folder: Path) -> None:
    need_package("fal_client", "pip install fal-client")
    (folder / "sample.py").write_text(program)
    subprocess.run([sys.executable, "sample.py"], cwd=folder, env=clean_environment(), check=True, timeout=90)


def javascript(program: str, _: Path) -> None:
    need_js_client()
    command = ["node", "--input-type=module", "-e", program]
    subprocess.run(command, cwd=JAVASCRIPT_FOLDER, env=clean_environment(), check=True, timeout=90)


RUNNERS: dict[str, Callable[[str, Path], None]] = {"cURL": curl, "Python": python, "JavaScript": javascript}


def stored(server: Server, endpoint: str) -> dict[str, object]:
    with server.client() as client:
        (newest,) = client.get("/v1/requests", params={"endpoint_id": endpoint, "limit": 1}).json()["items"]
        found = client.get(f"/v1/requests/{newest['request_id']}").json()
    assert found["state"] == "done", found["error"]
    return {"id": found["request_id"], "input": found["input"]}


def copied(watched: Watched, language: str) -> str:
    page = watched.page
    page.get_by_role("tab", name=language).click()
    page.evaluate("navigator.clipboard.writeText('')")
    page.get_by_role("button", name=f"Copy {language}").click()
    wait_until(page, "navigator.clipboard.readText().then(Boolean)")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_a_sample_sends_is_what_the_form_shows(visit, web_server, tmp_path, endpoint):
    watched = visit(permissions=["clipboard-read", "clipboard-write"])
    page = watched.open_endpoint(endpoint)
    shown = set_json(watched, **CHANGES[endpoint])
    assert page.locator("#field-prompt").input_value() == PROMPT
    assert shown["image_url"].startswith(f"{watched.base}/samples/")
    page.get_by_role("tab", name="API", exact=True).click()
    ids = set()
    for language, run in RUNNERS.items():
        run(copied(watched, language), tmp_path)
        found = stored(web_server, endpoint)
        assert found["input"] == shown, language
        ids.add(found["id"])
    assert len(ids) == len(RUNNERS)


def test_the_host_lines_are_those_of_client_env(visit, web_server):
    page = visit().open_endpoint(tab="api")
    page.locator(".host-lines summary").click()
    wait_until(page, "document.querySelector('.host-lines code').innerText.includes('SSL_CERT_FILE')")
    lines = page.locator(".host-lines code").inner_text().splitlines()
    said = dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)
    printed = web_server.environment()
    assert said == {name: printed[name] for name in ("FAL_RUN_HOST", "FAL_QUEUE_RUN_HOST", "FAL_KEY", "SSL_CERT_FILE")}


def test_the_documents_are_linked(visit, web_server):
    page = visit().open_endpoint(tab="api")
    links = page.locator(".samples .links a").evaluate_all("all => all.map((each) => each.href)")
    with web_server.client() as client:
        for link in links:
            assert client.get(link).status_code == 200
    assert len(links) == 3


def test_a_seed_beyond_the_numbers_of_javascript_is_not_changed(visit):
    watched = visit(permissions=["clipboard-read", "clipboard-write"])
    page = watched.open_endpoint()
    page.locator(".advanced summary").click()
    page.locator("#field-seed").fill("9007199254740993")
    assert '"seed": 9007199254740993' in watched.json()
    page.get_by_role("tab", name="API", exact=True).click()
    assert '"seed": 9007199254740993' in copied(watched, "Python")
    assert '"seed": "9007199254740993"' in copied(watched, "JavaScript")
    data = re.search(r"--data '(.*)'$", copied(watched, "cURL"), re.DOTALL)
    assert data
    assert json.loads(data[1])["seed"] == 9007199254740993


def test_with_a_key_the_samples_take_it_from_the_environment(visit):
    watched = visit(permissions=["clipboard-read", "clipboard-write"])
    page = watched.open("/")
    page.evaluate("sessionStorage.setItem('stillmotion.key', 'some:secret')")
    page = watched.open_endpoint(tab="api")
    for language in RUNNERS:
        text = copied(watched, language)
        assert "some:secret" not in text
        assert "FAL_KEY" in text or language == "Python"
    assert os.environ.get("FAL_KEY") is None
