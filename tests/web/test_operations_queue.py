"""The operators' page, live: engines, who waits, what failed, and taking requests and engines out."""

import pytest
from browser import wait_until
from operations_page import open_section
from views import amiss

from serving import ENDPOINT, serving, small, submit

RUNNING, WAITING, FAILED = ".op-work", "#op-waiting ~ .op-list .op-item", "#op-failed ~ .op-list .op-item"


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("slow"), mock_seconds=60, mock_slots=1, log_level="warning") as server:
        yield server


@pytest.fixture(scope="module")
def client(slow_server):
    with slow_server.client() as client:
        yield client


def state(client, request):
    return client.get(f"/v1/requests/{request['request_id']}").json()["state"]


def test_requests_are_seen_at_work_and_cancelled(visit, slow_server, client):
    running = submit(client, num_inference_steps=40)
    waiting = [submit(client), submit(client)]
    client.post(f"/queue/{ENDPOINT}", json=small(num_frames=4))
    watched = visit(server=slow_server)
    page = open_section(watched, "queue")
    work = page.locator(f"{RUNNING}[data-request='{running['request_id']}']")
    work.wait_for()
    wait_until(page, "document.querySelector('.op-work progress')?.value > 0")
    assert "Denoising" in work.inner_text()
    assert "of 40" in work.inner_text()
    seen = page.locator(f"{RUNNING} progress").get_attribute("value")
    wait_until(page, f"document.querySelector('.op-work progress').value > {seen}")
    wait_until(page, "document.querySelector('.op-work').innerText.includes(' left')")
    assert page.locator(".op-engine").inner_text().splitlines()[:3:2] == ["mock", "Computing"]
    assert page.locator(WAITING).count() == 2
    assert "greater_than_equal" in page.locator(FAILED).inner_text()
    assert amiss(watched, "operations-queue-full") == {}

    page.locator(f"[data-request='{waiting[0]['request_id']}']").get_by_role("button").click()
    wait_until(page, "document.querySelectorAll('#op-waiting ~ .op-list .op-item').length === 1")
    assert (state(client, waiting[0]), state(client, waiting[1])) == ("cancelled", "queued")
    work.get_by_role("button").click()
    work.wait_for(state="detached")
    assert state(client, running) == "cancelled"
    page.locator(f"{RUNNING}[data-request='{waiting[1]['request_id']}']").get_by_role("button").click()
    page.get_by_text("Nobody waits.").wait_for()
    page.get_by_text("Idle", exact=True).wait_for()


def test_an_engine_is_taken_out_and_in_again_by_keyboard(visit, slow_server, client):
    page = open_section(visit(server=slow_server), "queue")
    page.get_by_role("button", name="Take out: mock").press("Enter")
    # Two decisions: nothing has happened yet, and one key press takes it back.
    assert client.get("/v1/engines").json()["engines"][0]["state"] == "active"
    page.get_by_role("button", name="Keep mock").press("Enter")
    page.get_by_role("button", name="Take out: mock").press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Keep mock"
    page.get_by_role("button", name="Take it out: mock").press("Enter")
    page.get_by_text("Taken out", exact=True).wait_for()
    assert client.get("/v1/engines").json()["engines"][0]["state"] == "drained"
    page.get_by_role("button", name="Take in again: mock").press("Enter")
    page.get_by_text("Idle", exact=True).wait_for()


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.mark.parametrize("under_way", [False, True])
def test_nothing_is_asked_while_nobody_looks(visit, slow_server, under_way):
    watched = visit(server=slow_server)
    page = open_section(watched, "queue")
    page.get_by_text("Idle", exact=True).wait_for()
    held = []
    if under_way:
        page.route("**/v1/queue", lambda route: held.append(route))
        while not held:
            page.wait_for_timeout(25)
    page.evaluate(HIDE, True)
    for route in held:
        route.continue_()
    page.unroute("**/v1/queue")
    page.wait_for_timeout(300)  # what was asked before is answered
    before = len(watched.requests)
    page.wait_for_timeout(2600)
    assert len(watched.requests) == before
    page.evaluate(HIDE, False)
    page.wait_for_timeout(100)
    assert len(watched.requests) > before


def test_the_section_is_in_the_address_and_arrows_move(visit, slow_server):
    page = open_section(visit(server=slow_server), "usage")
    page.get_by_text("Nothing was made").wait_for()
    page.get_by_role("tab", name="Usage").press("ArrowRight")
    assert page.evaluate("[document.activeElement.innerText, location.hash]") == ["Keys", "#keys"]
    page.reload()
    page.get_by_role("heading", name="New key").wait_for()


def test_the_link_stands_where_it_is_of_use(visit, slow_server):
    page = visit(server=slow_server).open("/")
    page.get_by_role("link", name="Operations").click()
    page.wait_for_url("**/operations")
    assert page.get_by_role("link", name="Operations").get_attribute("aria-current") == "page"
