"""What was made is found again, pinned, deleted, and brought back into the form."""

import json

import pytest
from browser import NINETEEN, wait_until

from serving import serving, small, submit, wait


@pytest.fixture(scope="module")
def full_server(tmp_path_factory):
    """Three requests of one key: one done, one cancelled, one faulty; the newest first in the list."""
    with serving(tmp_path_factory.mktemp("history"), mock_seconds=0.1) as server, server.client() as client:
        wait(client, submit(client, prompt="a red fox runs", seed=11))
        wait(client, submit(client, prompt="a blue whale sings", seed=12))
        wait(client, submit(client, prompt="faulty", num_frames=5))
        yield server


def prompts(page):
    return page.locator(".made-prompt").all_inner_texts()


def test_it_is_searched_and_filtered(visit, full_server):
    page = visit(server=full_server).open_endpoint(tab="history")
    page.wait_for_selector(".made-item")
    assert prompts(page) == ["faulty", "a blue whale sings", "a red fox runs"]
    page.get_by_label("Search the prompts").fill("whale blue")
    wait_until(page, "document.querySelectorAll('.made-item').length === 1")
    assert prompts(page) == ["a blue whale sings"]
    page.get_by_label("Search the prompts").fill("")
    page.get_by_label("State").select_option(label="Failed or cancelled")
    wait_until(page, "document.querySelector('.made-prompt')?.innerText === 'faulty'")
    assert prompts(page) == ["faulty"]
    assert "greater than or equal to 9" in page.locator(".made-error").inner_text()
    page.get_by_label("Search the prompts").fill("nothing like it")
    page.wait_for_selector(".history-none")
    assert page.locator(".history-none").inner_text() == "Nothing fits."


def test_each_has_its_picture(visit, full_server):
    page = visit(server=full_server).open_endpoint(tab="history")
    page.wait_for_selector(".made-item.done img")
    pictures = "[...document.querySelectorAll('.made-item img')]"
    wait_until(page, f"{pictures}.every((each) => each.complete && each.naturalWidth === 64)")
    assert page.locator(".made-item img").count() == 2


def test_a_request_comes_back_into_the_form(visit, full_server):
    watched = visit(server=full_server)
    page = watched.open_endpoint(tab="history")
    row = page.locator(".made-item", has_text="red fox")
    row.get_by_role("button", name="Restore").click()
    page.wait_for_selector("#field-prompt:visible")
    assert page.locator("#field-prompt").input_value() == "a red fox runs"
    assert json.loads(watched.json()) == small(prompt="a red fox runs", seed=11)
    assert page.get_by_role("tab", name="Playground").get_attribute("aria-selected") == "true"


def test_pins_last_and_are_a_filter(visit, full_server):
    watched = visit(server=full_server)
    page = watched.open_endpoint(tab="history")
    row = page.locator(".made-item", has_text="whale")
    row.get_by_role("button", name="Pin", exact=True).click()
    row.get_by_role("button", name="Unpin").wait_for()
    page.reload()
    page.get_by_role("button", name="Pinned").click()
    wait_until(page, "document.querySelectorAll('.made-item').length === 1")
    assert prompts(page) == ["a blue whale sings"]
    page.get_by_role("button", name="Unpin").click()
    page.get_by_role("button", name="Pin", exact=True).wait_for()


def test_deleting_asks_and_is_for_good(visit, full_server):
    with full_server.client() as client:
        wait(client, submit(client, prompt="to be deleted"))
        page = visit(server=full_server).open_endpoint(tab="history")
        row = page.locator(".made-item", has_text="to be deleted")
        row.get_by_role("button", name="Delete").click()
        row.get_by_role("button", name="Keep").click()
        row.get_by_role("button", name="Delete").click()
        row.get_by_role("button", name="Delete for good").click()
        row.wait_for(state="detached")
        assert client.get("/v1/requests", params={"q": "deleted"}).json()["items"] == []


def test_it_is_of_one_endpoint(visit, full_server):
    page = visit(server=full_server).open_endpoint("fal-ai/ltx-2/image-to-video", tab="history")
    page.wait_for_selector(".history-none")
    assert page.locator(".history-none").inner_text().startswith("Nothing yet")
    assert NINETEEN not in page.locator(".history").inner_text()
