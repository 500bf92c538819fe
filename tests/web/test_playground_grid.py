"""Seeds by values of one setting: requests like any other, shown as a grid."""

import json
from typing import Any

import pytest
from browser import NINETEEN, Watched, wait_until
from run_page import SMALL, set_json
from views import amiss

from serving import serving

KEPT = f"stillmotion.grid.{NINETEEN}"
DONE = "document.querySelectorAll('.cell.done').length"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("grid"), mock_seconds=0.2) as server:
        yield server


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory):
    """Two requests at a time, which nobody waits for: what is looked at or cancelled is still at work."""
    with serving(tmp_path_factory.mktemp("slow-grid"), mock_seconds=30, mock_slots=2) as server:
        yield server


def plan(watched: Watched, *, seeds: tuple[Any, ...] = (), setting: str = "", values: tuple[Any, ...] = ()) -> Any:
    """Opens the panel and fills it in; typed values only."""
    page = watched.page
    # The line beside the button grows when it has its figures, and moves it: a press there would be no click.
    page.wait_for_selector(".live-cost")
    page.get_by_role("button", name="Grid").click()
    page.wait_for_selector("dialog.grid-plan[open]")
    if setting:
        page.get_by_label("Setting", exact=True).select_option(label=setting)
    for legend, given in (("Seed", seeds), ("Value", values)):
        for at, value in enumerate(given, 1):
            field = page.get_by_label(f"{legend} {at}", exact=True)
            if not field.count():
                page.get_by_role("button", name=f"Add a {legend.lower()}").click()
            field.fill(str(value))
    return page


def ready(page: Any) -> str:
    """What the panel says once it knows."""
    wait_until(page, "!document.querySelector('.grid-run').disabled")
    return page.locator(".grid-figures").inner_text().replace("\n", " ")


def history(server: Any, words: str) -> list[dict[str, Any]]:
    with server.client() as client:
        items = client.get("/v1/requests", params={"q": words, "limit": 100}).json()["items"]
        return [client.get(f"/v1/requests/{item['request_id']}").json() for item in items]


def asked(items: list[dict[str, Any]], name: str) -> list[tuple[Any, Any]]:
    return sorted((item["input"]["seed"], item["input"][name]) for item in items)


def test_two_seeds_by_two_values_are_four_requests_of_the_history(visit, server):
    watched = visit(server=server)
    page = watched.open_endpoint()
    input = set_json(watched, prompt="four together", seed=5, **SMALL)
    plan(watched, seeds=(5, 2**60 + 1), setting="Guidance Scale", values=(2, 4.5))
    # Four times what the line under the form says of one.
    assert ready(page).startswith("4 requests $")
    page.get_by_role("button", name="Run 4 requests").click()
    wait_until(page, f"{DONE} === 4")
    assert page.locator(".grid-state").inner_text() == "All 4 done"
    items = history(server, "four together")
    assert asked(items, "guidance_scale") == [(5, 2), (5, 4.5), (2**60 + 1, 2), (2**60 + 1, 4.5)]
    for item in items:
        rest = {name: value for name, value in item["input"].items() if name not in ("seed", "guidance_scale")}
        assert rest == {name: value for name, value in input.items() if name != "seed"}
    assert page.locator(".grid-table thead th").all_inner_texts() == ["Seed", "2", "4.5"]
    assert page.locator(".grid-table tbody th").all_inner_texts() == ["5", str(2**60 + 1)]
    wait_until(
        page, "[...document.querySelectorAll('.cell video')].every((each) => each.muted && each.loop && !each.paused)"
    )
    # The form is as it was.
    assert json.loads(watched.json()) == input
    # Each cell is the request that its row and column say.
    found = {(item["input"]["seed"], item["input"]["guidance_scale"]): item["request_id"] for item in items}
    page.get_by_role("button", name=f"Open the result of seed {2**60 + 1}, Guidance Scale 2", exact=True).click()
    page.wait_for_selector(".player video")
    assert page.locator(".log-id code").text_content() == found[2**60 + 1, 2]
    for value in ("2", "4.5"):
        page.get_by_role("button", name=f"Compare seed 5, Guidance Scale {value}", exact=True).click()
    page.get_by_role("link", name="Compare the two").click()
    page.wait_for_url(f"**/compare?a={found[5, 2]}&b={found[5, 4.5]}")
    page.wait_for_selector(".duel")


def test_a_reload_in_the_middle_loses_and_repeats_nothing(visit, server):
    watched = visit(server=server)
    watched.expected = ("ERR_FAILED",)
    page = watched.open_endpoint()
    set_json(watched, prompt="through a reload", **SMALL)
    plan(watched, seeds=(1, 2), setting="FPS", values=(10, 20))
    ready(page)
    # The page is gone when two have been sent and the reply to the second is lost.
    sent = 0

    def answer(route: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:
            route.fetch()
            page.evaluate("setTimeout(() => location.reload())")
            route.abort()
            return
        route.continue_()

    pattern = f"**/queue/{NINETEEN}"
    page.route(pattern, answer)
    with page.expect_navigation():
        page.get_by_role("button", name="Run 4 requests").click()
    wait_until(page, f"(JSON.parse(localStorage.getItem('{KEPT}'))?.ids ?? []).filter(Boolean).length >= 2")
    page.unroute(pattern)
    page.wait_for_selector(".cell.running, .cell.done")
    page.reload()
    page.wait_for_selector(".cell.running, .cell.done")
    wait_until(page, f"{DONE} === 4")
    assert asked(history(server, "through reload"), "fps") == [(1, 10), (1, 20), (2, 10), (2, 20)]


def test_all_are_cancelled(visit, slow_server):
    watched = visit(server=slow_server)
    page = watched.open_endpoint()
    set_json(watched, prompt="all cancelled", **SMALL)
    plan(watched, seeds=(1, 2, 3), setting="FPS", values=(10, 20))
    ready(page)
    page.get_by_role("button", name="Run 6 requests").click()
    page.wait_for_selector(".cell.running")
    page.get_by_role("button", name="Cancel all").click()
    wait_until(page, "document.querySelectorAll('.cell.cancelled').length === 6")
    assert page.locator(".grid-state").inner_text() == "0 of 6 done"
    states = {item["state"] for item in history(slow_server, "all cancelled")}
    assert states == {"cancelled"}
    page.reload()
    page.wait_for_selector(".cell.cancelled")
    page.get_by_role("button", name="Close the grid").click()
    assert page.locator(".grid-run-view").count() == 0
    page.reload()
    page.wait_for_selector(".run-button")
    assert page.locator(".grid-run-view").count() == 0


@pytest.mark.parametrize(
    ("setting", "columns"),
    [
        ("Generate Audio", ["On", "Off"]),
        ("Camera LoRA", ["None", "Dolly in"]),
        ("Negative Prompt", ["blur and noise", "Empty"]),
    ],
)
def test_switches_choices_and_texts_are_varied_too(visit, server, setting, columns):
    watched = visit(server=server)
    page = watched.open_endpoint()
    set_json(watched, prompt=f"varied {setting}", **SMALL)
    plan(watched, seeds=(1,), setting=setting)
    page.get_by_role("button", name="Remove Seed 2").click()
    if setting == "Negative Prompt":
        page.get_by_label("Value 1", exact=True).fill("")
        page.get_by_label("Value 2", exact=True).fill("blur and noise")
        columns = columns[::-1]
    ready(page)
    page.get_by_role("button", name="Run 2 requests").click()
    wait_until(page, f"{DONE} === 2")
    assert page.locator(".grid-table thead th").all_inner_texts()[1:] == columns
    (name,) = {name for item in history(server, f"varied {setting}") for name in item["input"]} - set(SMALL) - {
        "prompt", "image_url", "seed"
    }  # fmt: skip
    values = [item["input"][name] for item in history(server, f"varied {setting}")]
    told = {True: "On", False: "Off", "none": "None", "dolly_in": "Dolly in", "": "Empty"}
    assert sorted(told.get(value, value) for value in values) == sorted(columns)


def test_at_most_sixteen_and_each_combination_once(visit, server):
    watched = visit(server=server)
    page = watched.open_endpoint()
    plan(watched, seeds=(1, 2, 3, 4), setting="FPS", values=(10, 20, 30, 40))
    assert ready(page).startswith("16 requests")
    assert page.get_by_role("button", name="Add a").count() == 0
    page.get_by_label("Seed 4", exact=True).fill("3")
    page.get_by_label("Value 1", exact=True).fill("")
    wait_until(page, "document.querySelector('.grid-figures').innerText.startsWith('9 requests')")
    page.get_by_role("button", name="Remove Value 1").click()
    assert page.locator(".values .value").count() == 7


@pytest.mark.parametrize(
    ("seeds", "values", "told"),
    [
        (("1", "many"), (10,), "Seeds are whole numbers, which many is not."),
        (("1.5",), (10,), "Seeds are whole numbers, which 1.5 is not."),
        (("", ""), (10,), "A grid has at least one seed."),
        ((1,), ("", ""), "A grid has at least one value."),
        ((1,), (10, 500), "fps: Input should be less than or equal to"),
    ],
)
def test_what_cannot_be_run_is_told_before(visit, server, seeds, values, told):
    watched = visit(server=server)
    page = watched.open_endpoint()
    plan(watched, seeds=seeds, setting="FPS", values=values)
    wait_until(page, f"document.querySelector('.grid-figures').innerText.includes({json.dumps(told)})")
    assert page.locator(".grid-run").is_disabled()


def test_the_panel_is_used_by_keyboard(visit, server):
    watched = visit(server=server)
    page = watched.open_endpoint()
    set_json(watched, prompt="by keyboard", seed=3, **SMALL)
    page.get_by_role("button", name="Grid").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog.grid-plan[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.grid-plan[open]", state="hidden")
    assert page.evaluate("document.activeElement.innerText") == "Grid"
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog.grid-plan[open]")
    # Until the figures are there nothing can be run, and what is disabled is passed over.
    ready(page)
    seen = []
    for _ in range(20):
        seen.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText.trim()"))
        if seen[-1] == "Run 2 requests":
            break
        page.keyboard.press("Tab")
    assert seen[:2] == ["Seed 1", "Remove Seed 1"]
    page.keyboard.press("Enter")
    wait_until(page, f"{DONE} === 2")


def planning(watched: Watched, page: Any) -> None:
    plan(watched, seeds=(1, 2**62, 3, 4), setting="Video Output Type")
    ready(page)


def faulty_plan(watched: Watched, page: Any) -> None:
    plan(watched, seeds=(1,), setting="FPS", values=(10, 500))
    page.wait_for_selector(".grid-figures .faults")


def working(watched: Watched, page: Any) -> None:
    # One may be over when it is to be cancelled.
    watched.expected = ("400",)
    plan(watched, seeds=(1, 2, 3, 4), setting="FPS", values=(10, 20, 30, 40))
    ready(page)
    page.locator(".grid-run").click()
    wait_until(page, "document.querySelector('.cell.running progress')?.value > 0")


def ended(watched: Watched, page: Any) -> None:
    """Some done, some that failed, some that are no longer there."""
    watched.expected = ("404",)
    plan(watched, seeds=(1,), setting="Prompt", values=("a fox " * 40, "an owl"))
    ready(page)
    page.locator(".grid-run").click()
    wait_until(page, f"{DONE} === 4")
    kept = json.loads(page.evaluate(f"localStorage.getItem('{KEPT}')"))
    kept["ids"][2:] = [None, "0" * 36]
    kept["faults"][2] = "The queue is full: try again later, or with fewer requests at once."
    page.evaluate(f"kept => localStorage.setItem('{KEPT}', kept)", json.dumps(kept))
    page.reload()
    page.wait_for_selector(".cell.gone")
    wait_until(page, f"{DONE} === 2")
    page.get_by_role("button", name="Compare seed").first.click()


@pytest.mark.parametrize("state", [planning, faulty_plan, working, ended], ids=lambda state: state.__name__)
def test_nothing_is_amiss(visit, server, slow_server, state):
    watched = visit(server=slow_server if state is working else server)
    page = watched.open_endpoint()
    set_json(watched, **SMALL)
    state(watched, page)
    assert amiss(watched, f"grid-{state.__name__}") == {}
    if state is working:
        page.get_by_role("button", name="Cancel all").click()
        wait_until(page, "!document.querySelector('.cell.queued, .cell.running')")
