"""How the playground's files are served, and how much the first page takes."""

import gzip
import re

import pytest
from browser import NINETEEN, wait_until

MOST_BYTES, MOST_REQUESTS = 150_000, 20


@pytest.fixture(scope="module")
def client(mock_server):
    with mock_server.client() as client:
        yield client


def test_a_page_may_load_from_here_alone_and_runs_nothing_inline(client):
    for path in ("/", f"/models/{NINETEEN}", f"/models/{NINETEEN}/", "/operations"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'self'"
        assert not re.search(r"unsafe|https?:|\*", answer.headers["content-security-policy"])
        assert "script-src" not in policy
        assert "style-src" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", answer.text)
        assert re.findall(r'(?:src|href)="(?!/)', answer.text) == []


def test_files_are_named_by_content_and_kept_for_ever(client):
    page = client.get("/").text
    names = re.findall(r'"(/web/[^"]+)"', page)
    assert len(names) == 3
    for name in names:
        answer = client.get(name)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        etag = answer.headers["etag"]
        assert etag.strip('"') in name
        assert client.get(name, headers={"if-none-match": etag}).status_code == 304
    assert client.get(re.sub(r"app-\w+", "app-0", names[-1])).status_code == 404


def test_operators_have_a_script_of_their_own(client):
    scripts = {}
    for path in ("/", "/operations"):
        (url,) = re.findall(r'src="([^"]+)"', client.get(path).text)
        scripts[path] = set(re.findall(r"^// (app/\S+)$", client.get(url).text, re.M))
    assert not any(name.startswith("app/operations/") for name in scripts["/"])
    assert "app/operations/queue.js" in scripts["/operations"]
    assert not any(name.startswith(("app/form/", "app/run/")) for name in scripts["/operations"])


def test_a_page_is_asked_for_again_every_time(client):
    answer = client.get("/")
    assert answer.headers["cache-control"] == "no-cache"
    assert client.get("/", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_files_come_packed_to_whoever_takes_that(client):
    (script,) = re.findall(r'src="([^"]+)"', client.get("/").text)
    plain = client.get(script, headers={"accept-encoding": "identity"})
    packed = client.get(script, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9, mtime=0))


def test_only_the_catalogue_has_playgrounds(client):
    answer = client.get("/models/fal-ai/none/image-to-video")
    assert (answer.status_code, answer.json()) == (
        404,
        {"detail": "Application 'fal-ai/none/image-to-video' not found"},
    )
    assert client.get("/web/../app.py").status_code == 404


@pytest.mark.parametrize("path", ["/", f"/models/{NINETEEN}"])
def test_the_first_page_is_light(visit, path):
    watched = visit()
    page = watched.page
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    received: list[float] = []
    network.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    watched.open(path)
    page.wait_for_selector(".card:not(.loading)")
    page.wait_for_load_state("networkidle")
    wait_until(page, "[...document.images].every((each) => each.complete)")
    assert sum(received) <= MOST_BYTES
    assert len(watched.requests) <= MOST_REQUESTS
