"""Webhooks of all keys on the operators' page: what receivers answered, and telling them again."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import wait_until
from operations_page import open_section
from views import amiss

from serving import ENDPOINT, serving, small

GONE, TAKEN = 410, 200


@pytest.fixture
def receiver():
    """Its URL; it answers with what ``status`` holds."""

    class Handler(BaseHTTPRequestHandler):
        status = GONE

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(Handler.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def hooked_server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("hooked"), mock_seconds=0.05, webhook_seconds=60) as server:
        yield server


def test_what_was_given_up_is_delivered_from_the_page(visit, hooked_server, receiver):
    handler, url = receiver
    with hooked_server.client() as client:
        for path in ("/hook?secret=5", "/busy"):
            answer = client.post(f"/queue/{ENDPOINT}", json=small(), params={"fal_webhook": url + path})
            assert answer.status_code == 200
            if path == "/hook?secret=5":
                id = answer.json()["request_id"]
        watched = visit(server=hooked_server)
        page = open_section(watched, "webhooks")
        line = page.locator(f".op-item[data-request='{id}']")
        wait_until(page, f"""document.querySelector("[data-request='{id}']")?.dataset.state === 'failed'""")
        assert line.locator(".op-title").inner_text().splitlines() == [f"{url}/hook", "given up"]
        assert "answered 410" in line.inner_text()
        assert "1 attempt" in line.inner_text()
        assert "secret=5" not in page.content()
        line.locator("summary").click()
        wait_until(page, "document.querySelectorAll('.op-log li').length === 1")
        wait_until(page, "document.querySelectorAll('.op-item[data-state=failed]').length === 2")
        assert amiss(watched, "operations-webhooks-full") == {}

        handler.status = TAKEN
        line.get_by_role("button", name="Send again").click()
        wait_until(page, f"""document.querySelector("[data-request='{id}']").dataset.state === 'delivered'""")
        assert "answered 200" in line.locator(".op-facts").inner_text()
        wait_until(page, "document.querySelectorAll('.op-log li').length === 2")
        told = client.get(f"/v1/webhooks/{id}").json()
        assert [each["status"] for each in told["deliveries"]] == [GONE, TAKEN]
        assert (told["state"], told["attempts"]) == ("delivered", 2)


def test_one_under_way_is_told_as_such(visit, hooked_server, receiver):
    handler, url = receiver
    handler.status = 503
    watched = visit(server=hooked_server)
    with hooked_server.client() as client:
        answer = client.post(f"/queue/{ENDPOINT}", json=small(), params={"fal_webhook": url})
        page = open_section(watched, "webhooks")
        line = page.locator(f".op-item[data-request='{answer.json()['request_id']}']")
        line.get_by_text("to be delivered").wait_for()
        line.get_by_text("next in").wait_for()
        assert "answered 503" in line.inner_text()
