"""Two results under one transport, beside each other and one over the other, and what differs between them."""

from typing import Any

import pytest
from browser import NINETEEN, PHOTOGRAPHS, Watched, wait_until
from run_page import SMALL, finish, run, set_json
from views import amiss

from serving import data_uri, serving, submit, wait

VIDEOS = "[...document.querySelectorAll('.duel video')]"
A = {"prompt": "a red fox runs through the snow", "seed": 11, "num_frames": 25, "fps": 25}
B = {"prompt": "a red fox sleeps in the snow", "num_frames": 9, "fps": 10, "guidance_scale": 5,
     "video_size": {"width": 96, "height": 64}}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``ids`` of the two above, of one that is like the first but for its seed, and of one that failed."""
    with serving(tmp_path_factory.mktemp("compare"), mock_seconds=0.05) as server, server.client() as client:
        photo = data_uri((PHOTOGRAPHS / "chelsea.png").read_bytes())
        asked = [submit(client, image_url=photo, **fields) for fields in (A, B, A | {"seed": 12})]
        asked.append(submit(client, prompt="faulty", num_frames=5))
        for each in asked:
            wait(client, each)
        ids = [each["request_id"] for each in asked]
        yield {"server": server, "ids": ids, "seed": client.get(f"/v1/requests/{ids[1]}").json()["seed"]}


def opened(watched: Watched, one: str, other: str) -> Any:
    page = watched.open(f"/compare?a={one}&b={other}")
    page.wait_for_selector(".duel")
    wait_until(page, f"{VIDEOS}.length === 2 && {VIDEOS}.every((each) => each.readyState >= 2)")
    return page


@pytest.fixture
def pair(visit, made):
    """The two, the longer and finer one first: 25 frames at 25 fps beside 9 at 10."""
    return opened(visit(server=made["server"]), *made["ids"][:2])


def settled(page: Any) -> list[float]:
    """The times of both videos once they stand still."""
    wait_until(page, f"{VIDEOS}.every((each) => each.paused && !each.seeking)")
    found: list[float] = page.evaluate(f"{VIDEOS}.map((each) => each.currentTime)")
    return found


def shown(times: list[float]) -> list[int]:
    """Which picture each of the two shows, from 0."""
    return [int(times[0] * 25 + 1e-3), int(times[1] * 10 + 1e-3)]


def table(page: Any, selector: str) -> dict[str, list[str]]:
    rows = page.locator(f"{selector} tr[data-name]").evaluate_all(
        "all => all.map((each) => [...each.querySelectorAll('th, td')].map((cell) => cell.textContent.trim()))"
    )
    return {name: cells for name, *cells in rows}


def test_two_are_chosen_in_the_history_and_the_address_keeps_them(visit, made):
    watched = visit(server=made["server"])
    page = watched.open_endpoint(tab="history")
    one, other, newest, faulty = made["ids"]
    page.wait_for_selector(".made-item")
    assert page.locator(f"[data-request='{faulty}']").get_by_role("button", name="Compare").count() == 0
    for id in (newest, one, other):
        page.locator(f"[data-request='{id}']").get_by_role("button", name="Compare").click()
    assert page.locator(".made-item [aria-pressed=true]").count() == 2
    page.get_by_role("link", name="Compare the two").click()
    page.wait_for_url(f"**/compare?a={one}&b={other}")
    page.reload()
    page.wait_for_selector(".caption")
    assert [A["prompt"], B["prompt"]] == [
        each.removeprefix(name).strip()
        for name, each in zip("AB", page.locator(".caption-prompt").all_inner_texts(), strict=True)
    ]
    page.get_by_role("link", name="Swap A and B").click()
    page.wait_for_url(f"**/compare?a={other}&b={one}")
    page.wait_for_selector(".caption")
    page.get_by_role("link", name="Open A").click()
    page.wait_for_selector(".player video")
    assert page.locator(".log-id code").text_content() == other


def test_a_seek_moves_both_to_the_same_time(pair):
    position = pair.get_by_label("Position")
    # The thirteenth picture of the finer one is the fifth of the other: both are half a frame behind their beginning.
    position.fill("12")
    times = settled(pair)
    assert shown(times) == [12, 5]
    assert abs(times[0] - times[1]) < 1 / 25
    assert position.get_attribute("aria-valuetext") == "0.50 seconds, frame 13 of 25"
    position.focus()
    pair.keyboard.press("ArrowRight")
    assert shown(settled(pair)) == [13, 5]


def test_the_shorter_one_holds_its_last_frame(pair):
    pair.get_by_label("Position").fill("24")
    assert shown(settled(pair)) == [24, 8]


def test_the_arrows_step_by_the_finer_rate(pair):
    pair.locator(".duel video").first.focus()
    seen = []
    for _ in range(4):
        pair.keyboard.press("ArrowRight")
        seen.append(shown(settled(pair)))
    # 25 fps: one step is 40 ms, in which 10 fps change at every second or third.
    assert seen == [[1, 0], [2, 1], [3, 1], [4, 1]]
    pair.keyboard.press("ArrowLeft")
    assert shown(settled(pair)) == [3, 1]
    pair.keyboard.press("End")
    assert shown(settled(pair)) == [24, 8]
    pair.keyboard.press("Home")
    assert shown(settled(pair)) == [0, 0]


def test_both_play_wait_for_each_other_and_loop(pair):
    pair.get_by_label("Speed").select_option("0.5×")
    pair.locator(".duel video").first.focus()
    pair.keyboard.press("Space")
    wait_until(pair, f"{VIDEOS}.every((each) => !each.paused && each.currentTime > 0.05)")
    assert pair.evaluate(f"{VIDEOS}[0].playbackRate") == 0.5
    # The shorter one is over, and stays.
    wait_until(pair, f"{VIDEOS}[1].paused && !{VIDEOS}[0].paused && {VIDEOS}[1].currentTime > 0.8")
    # Then both begin again.
    wait_until(pair, f"{VIDEOS}.every((each) => !each.paused && each.currentTime < 0.6)")
    pair.keyboard.press("Space")
    times = settled(pair)
    assert abs(times[0] - times[1]) < 1 / 25
    # Without the loop they stop at their ends.
    pair.get_by_role("button", name="Loop").click()
    pair.get_by_role("button", name="Play").click()
    wait_until(pair, f"{VIDEOS}[0].currentTime > 0.9")
    pair.get_by_role("button", name="Play").wait_for()
    assert shown(settled(pair)) == [24, 8]


def test_the_wipe_is_moved_by_keys_and_dragged(pair):
    slider = pair.get_by_role("slider", name="Wipe")
    assert slider.count() == 0
    pair.get_by_label("Wipe").check()
    slider.focus()
    edge = "getComputedStyle(document.querySelector('.duel-side.b')).clipPath"
    values = []
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft", "PageUp", "Shift+ArrowLeft", "Home", "ArrowLeft", "End"):
        pair.keyboard.press(key)
        values.append(slider.get_attribute("aria-valuenow"))
    assert values == ["51", "50", "49", "59", "49", "0", "0", "100"]
    assert pair.evaluate(edge) == "inset(0px 0px 0px 100%)"
    assert [slider.get_attribute(f"aria-value{each}") for each in ("min", "max")] == ["0", "100"]
    # The arrows did not step.
    assert settled(pair)[0] < 1 / 25
    box = pair.locator(".wipe-pad").bounding_box()
    pair.mouse.move(box["x"] + box["width"] - 2, box["y"] + 10)
    pair.mouse.down()
    pair.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40, steps=3)
    pair.mouse.up()
    wait_until(pair, "document.querySelector('.wipe-line').ariaValueNow === '25'")
    assert slider.get_attribute("aria-valuetext") == "A on the left 25 %, B on the rest"
    pair.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    assert slider.get_attribute("aria-valuenow") == "25"


def test_the_table_has_what_differs_and_nothing_else(pair, made):
    differing = table(pair, ".differences > .differing")
    # How long the engine took and how large the file is is not decided by the input.
    for name in ("GPU time", "File"):
        differing.pop(name, None)
    assert differing == {
        "prompt": [A["prompt"], B["prompt"]],
        "num_frames": ["25", "9"],
        "video_size": ["64 × 64", "96 × 64"],
        "fps": ["25", "10"],
        "guidance_scale": ["3 default", "5"],
        "seed": ["11", f"{made['seed']} by chance"],
        "Size": ["64 × 64", "96 × 64"],
        "Frames": ["25", "9"],
        "Rate": ["25 fps", "10 fps"],
        "Length": ["1 s", "0.9 s"],
    }
    assert pair.locator("tr[data-name=prompt] mark").all_inner_texts() == ["runs through", "sleeps in"]
    assert not pair.locator(".equal table").is_visible()
    pair.locator(".equal summary").click()
    equal = table(pair, ".equal .differing")
    assert equal["endpoint"] == [NINETEEN, NINETEEN]
    assert equal["num_inference_steps"] == ["8", "8"]
    assert equal["generate_audio"] == ["true default", "true default"]
    assert not equal.keys() & differing.keys()


def test_requests_that_differ_in_nothing_but_the_seed(visit, made):
    page = opened(visit(server=made["server"]), made["ids"][0], made["ids"][2])
    found = table(page, ".differences > .differing")
    assert [name for name in found if name not in ("GPU time", "File")] == ["seed"]
    assert found["seed"] == ["11", "12"]


def test_a_result_is_compared_with_the_one_before_it(visit, made):
    watched = visit(server=made["server"])
    page = watched.open_endpoint()
    ids = []
    for seed in (1, 2):
        set_json(watched, seed=seed, **SMALL)
        run(page)
        wait_until(page, f"document.querySelectorAll('.chip').length === {seed} || {seed} === 1")
        finish(page)
        page.wait_for_selector(f".facts code:text-is('{seed}')")
        ids.append(page.locator(".log-id code").text_content())
    page.get_by_role("link", name="Compare with previous").click()
    page.wait_for_url(f"**/compare?a={ids[0]}&b={ids[1]}")
    page.wait_for_selector(".duel")


def test_a_free_side_is_chosen_among_the_results(visit, made):
    watched = visit(server=made["server"])
    one, other = made["ids"][:2]
    page = watched.open(f"/compare?b={one}")
    page.locator(".choice a", has_text=B["prompt"]).focus()
    assert page.locator(f"a[href*='{one}&']").count() == 0
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/compare?a={other}&b={one}")
    page.wait_for_selector(".duel")


def test_what_cannot_be_compared_is_told(visit, made):
    watched = visit(server=made["server"])
    watched.expected = ("404",)
    one, faulty = made["ids"][0], made["ids"][3]
    for other, told in ((faulty, "B has no video: it failed."), ("0" * 36, "B: there is no request 000")):
        page = watched.open(f"/compare?a={one}&b={other}")
        page.wait_for_selector(".compare .notice")
        assert told in page.locator(".compare .notice").inner_text()


def empty(watched: Watched, ids: list[str]) -> None:
    watched.page.route("**/v1/requests?*", lambda route: route.fulfill(json={"items": [], "next_cursor": None}))
    watched.open("/compare").wait_for_selector(".history-none:not([role])")


def choosing(watched: Watched, ids: list[str]) -> None:
    page = watched.open(f"/compare?a={ids[0]}")
    page.wait_for_selector(".choice")


def loading(watched: Watched, ids: list[str]) -> None:
    watched.page.route("**/v1/requests/*", lambda route: None)
    watched.open(f"/compare?a={ids[0]}&b={ids[1]}").wait_for_selector(".loading-page")


def failing(watched: Watched, ids: list[str]) -> None:
    watched.expected = ("503",)
    refusal = {"error": {"message": "The server is stopping."}}
    watched.page.route("**/v1/requests/*", lambda route: route.fulfill(status=503, json=refusal))
    watched.open(f"/compare?a={ids[0]}&b={ids[1]}").wait_for_selector(".notice")


def full(watched: Watched, ids: list[str]) -> None:
    page = opened(watched, ids[0], ids[1])
    page.locator(".equal summary").click()


def wiping(watched: Watched, ids: list[str]) -> None:
    opened(watched, ids[1], ids[0]).get_by_label("Wipe").check()


def chosen(watched: Watched, ids: list[str]) -> None:
    page = watched.open_endpoint(tab="history")
    for id in ids[:2]:
        page.locator(f"[data-request='{id}']").get_by_role("button", name="Compare").click()


@pytest.mark.parametrize(
    "state", [empty, choosing, loading, failing, full, wiping, chosen], ids=lambda state: state.__name__
)
def test_nothing_is_amiss(visit, made, state):
    watched = visit(server=made["server"])
    state(watched, made["ids"])
    assert amiss(watched, f"compare-{state.__name__}") == {}
