"""On a server for other machines the page asks for a key, keeps it in the tab, and sends it with every request."""

import re

import pytest
from run_page import SMALL, finish, run, set_json

from serving import serving


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory):
    data = tmp_path_factory.mktemp("guarded")
    with serving(data, host="0.0.0.0", insecure_http="true", safety="off", mock_seconds=0.1) as server:
        # Chromium takes the clipboard and the like from loopback alone.
        server.http = server.http.replace("0.0.0.0", "127.0.0.1")
        yield server


def test_the_key_is_asked_for_kept_in_the_tab_and_sent(visit, guarded_server):
    (key,) = re.findall(r"shown this once: (\S+)", guarded_server.log.read_text())
    watched = visit(server=guarded_server)
    watched.expected = ("401",)
    page = watched.open_endpoint()
    page.wait_for_selector("dialog[open]")
    assert "This server asks for a key" in page.locator("dialog[open]").inner_text()
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()
    page.wait_for_selector("dialog:not([open])", state="attached")
    page.wait_for_selector("#field-prompt")
    set_json(watched, prompt="with a key", **SMALL)
    run(page)
    finish(page)
    page.get_by_role("tab", name="History").click()
    page.wait_for_selector(".made-item.done")
    assert key not in page.evaluate("JSON.stringify(localStorage)")
    assert page.evaluate("sessionStorage.getItem('stillmotion.key')") == key
    # Another tab knows nothing of it.
    other = watched.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("dialog[open]")


def test_the_page_itself_needs_no_key(visit, guarded_server):
    page = visit(server=guarded_server).open("/")
    page.wait_for_selector(".card:not(.loading)")
    assert page.locator(".card h2").count() == 5
