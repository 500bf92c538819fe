"""Every link of every served page answers here, or stands in a short list of pages that are not ours."""

import re

from visible_text import Page

from stillmotion.endpoints.catalogue import CATALOGUE

ELSEWHERE = {
    "https://fal.ai/pricing",
    "https://docs.fal.ai",
    "https://docs.fal.ai/clients/python",
    "https://docs.fal.ai/clients/javascript",
}
MARKDOWN = re.compile(r"\]\(([^)]+)\)")


def links(answer, base):
    """The addresses that a served document names as links, absolute."""
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == "text/html":
        found = Page(answer.text).links
    elif kind == "text/plain":
        found = MARKDOWN.findall(answer.text)
    elif kind == "application/json":
        metadata = answer.json()["info"]["x-fal-metadata"]
        found = [value for name, value in metadata.items() if name.endswith("Url")]
    else:
        return set()
    return {base + link if link.startswith("/") else link for link in found if not link.startswith("#")}


def test_every_link_answers(client, mock_server):
    base = mock_server.http
    waiting, seen, strangers = {base + "/"}, set(), set()
    while waiting:
        url = waiting.pop()
        seen.add(url)
        answer = client.get(url, follow_redirects=True)
        assert answer.status_code == 200, url
        found = links(answer, base)
        assert all(link.startswith("http") for link in found)
        strangers |= {link for link in found if not link.startswith(base + "/")}
        waiting |= found - strangers - seen
        assert len(seen) < 100
    assert strangers == ELSEWHERE
    for id in CATALOGUE:
        for page in ("", "/api", "/llms.txt"):
            assert f"{base}/models/{id}{page}" in seen
        assert f"{base}/api/openapi/queue/openapi.json?endpoint_id={id}" in seen
    assert f"{base}/models/style.css" in seen
