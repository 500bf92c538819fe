"""Every section of the operators' page while it loads, where there is nothing, and where the server fails."""

import pytest
from operations_page import open_section
from views import amiss

from serving import serving

SECTIONS = {
    "queue": ("**/v1/queue", "Nobody waits."),
    "usage": ("**/v1/usage?*", "Nothing was made in the last 30 days."),
    "keys": ("**/v1/keys", "There is no key yet."),
    "webhooks": ("**/v1/webhooks?*", "No request has named a webhook yet."),
    "models": ("**/v1/bundles", "No model is here yet."),
}
"""What a section asks, and what it says where there is nothing."""


@pytest.fixture(scope="module")
def new_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    with serving(folder / "data", models=folder / "models", log_level="warning") as server:
        yield server


@pytest.mark.parametrize("section", SECTIONS)
def test_where_there_is_nothing(visit, new_server, section):
    watched = visit(server=new_server)
    open_section(watched, section).get_by_text(SECTIONS[section][1]).wait_for()
    assert amiss(watched, f"operations-{section}-empty") == {}


@pytest.mark.parametrize("section", SECTIONS)
def test_while_it_loads_and_when_it_fails(visit, new_server, section):
    watched = visit(server=new_server)
    watched.expected = ("503",)
    held = []
    watched.page.route(SECTIONS[section][0], lambda route: held.append(route))
    page = open_section(watched, section)
    page.locator(".op-none", has_text="Loading").wait_for()
    assert amiss(watched, f"operations-{section}-loading") == {}
    held[0].fulfill(status=503, json={"error": {"message": "The server is stopping."}})
    page.get_by_role("alert").get_by_text("The server is stopping.").wait_for()
    assert page.locator(".op-none", has_text="Loading").count() == 0
    assert amiss(watched, f"operations-{section}-error") == {}


def test_what_was_found_stays_while_the_server_is_away(visit, new_server):
    watched = visit(server=new_server)
    watched.expected = ("Failed to load", "net::")
    page = open_section(watched, "queue")
    page.get_by_text("Nobody waits.").wait_for()
    page.route("**/v1/queue", lambda route: route.abort())
    page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
    assert page.get_by_text("Nobody waits.").is_visible()
    page.unroute("**/v1/queue")
    page.get_by_role("alert").wait_for(state="detached")
