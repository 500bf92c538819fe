"""Every page in every state, in every width and theme: nothing is amiss. And by keyboard alone."""

from collections.abc import Callable

import pytest
from browser import NINETEEN, Watched, wait_until
from run_page import SMALL, finish, run, set_json
from views import amiss

REFUSAL = {"error": {"message": "The server is stopping."}}
LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"
QUALITY = "fal-ai/ltx-2.3-quality/image-to-video"


def home(watched: Watched) -> None:
    page = watched.open("/")
    page.wait_for_selector(".card:not(.loading)")
    wait_until(page, "[...document.querySelectorAll('.card img')].every((each) => each.complete)")


def home_that_fails(watched: Watched) -> None:
    watched.expected = ("503", "Failed to load")
    watched.page.route("**/v1/models", lambda route: route.fulfill(status=503, json=REFUSAL))
    watched.open("/").wait_for_selector(".notice")


def home_that_loads(watched: Watched) -> None:
    watched.page.route("**/v1/models", lambda route: None)
    watched.open("/").wait_for_selector(".card.loading")


def endpoint_that_loads(watched: Watched) -> None:
    watched.page.route("**/openapi.json*", lambda route: None)
    watched.open(f"/models/{NINETEEN}").wait_for_selector(".loading-page")


def endpoint_that_fails(watched: Watched) -> None:
    watched.expected = ("503", "Failed to load")
    watched.page.route("**/openapi.json*", lambda route: route.fulfill(status=503, json=REFUSAL))
    watched.open(f"/models/{NINETEEN}").get_by_text("The server is stopping.").wait_for()


def empty(watched: Watched) -> None:
    page = watched.open_endpoint()
    wait_until(page, "document.querySelector('.live-cost')")


def long_values(watched: Watched) -> None:
    page = watched.open_endpoint(LORA)
    lora = {"path": "https://example.com/a/very/long/path/" + "x" * 90, "scale": 1}
    set_json(watched, prompt="word " * 150, video_size={"width": 1280, "height": 720}, loras=[lora, lora], new="x" * 99)
    page.locator(".advanced summary").click()


def json_view(watched: Watched) -> None:
    page = watched.open_endpoint(LORA)
    page.get_by_role("tab", name="JSON").click()
    page.locator("#json-text").fill('{"prompt": ' + "x" * 200)


def faulty(watched: Watched) -> None:
    watched.expected = ("422",)
    page = watched.open_endpoint()
    set_json(watched, num_frames=5, camera_lora="x", image_url="https://example.com/a.png")
    run(page)
    page.wait_for_selector(".stage.ended")
    page.wait_for_selector("#field-camera_lora-fault")


def working(watched: Watched) -> None:
    page = watched.open_endpoint()
    set_json(watched, **SMALL | {"num_inference_steps": 50})
    run(page)
    wait_until(page, "document.querySelector('progress')?.value > 0")


def done(watched: Watched) -> None:
    page = watched.open_endpoint()
    set_json(watched, prompt="A cup of coffee", enable_prompt_expansion=False, **SMALL)
    for _ in range(2):
        run(page)
        page.wait_for_selector(".player video")
    wait_until(page, "document.querySelector('.facts')?.innerText.includes('Cost on fal')")
    for summary in page.locator(".run summary").all():
        summary.click()


def samples(watched: Watched) -> None:
    page = watched.open_endpoint(QUALITY, tab="api")
    page.get_by_role("tab", name="JavaScript").click()
    page.locator(".host-lines summary").click()


def no_history(watched: Watched) -> None:
    watched.open_endpoint("fal-ai/ltx-2.3/image-to-video", tab="history").wait_for_selector(".history-none")


def history_that_loads(watched: Watched) -> None:
    watched.page.route("**/v1/requests?*", lambda route: None)
    watched.open_endpoint(tab="history").get_by_text("Loading …").wait_for()


def history_that_fails(watched: Watched) -> None:
    watched.expected = ("503", "Failed to load")
    watched.page.route("**/v1/requests?*", lambda route: route.fulfill(status=503, json=REFUSAL))
    watched.open_endpoint(tab="history").get_by_text("The server is stopping.").wait_for()


def full_history(watched: Watched) -> None:
    page = watched.open_endpoint()
    set_json(watched, prompt="A long prompt that goes on and on. " * 12, seed=2**62, **SMALL)
    run(page)
    page.wait_for_selector(".player video")
    page.get_by_role("tab", name="History").click()
    page.wait_for_selector(".made-item.done")
    page.locator(".made-item").first.get_by_role("button", name="Delete").click()


def key_dialog(watched: Watched) -> None:
    page = watched.open_endpoint()
    page.get_by_role("button", name="Set an API key").click()
    page.wait_for_selector("dialog[open]")


STATES: list[Callable[[Watched], None]] = [
    home, home_that_fails, home_that_loads, endpoint_that_loads, endpoint_that_fails, empty, long_values, json_view,
    faulty, working, done, samples, no_history, history_that_loads, history_that_fails, full_history, key_dialog,
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_nothing_is_amiss(visit, state):
    watched = visit(reduced_motion="reduce")
    state(watched)
    assert amiss(watched, state.__name__) == {}


def test_the_theme_is_chosen_and_kept(visit):
    watched = visit(color_scheme="light")
    page = watched.open("/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark colours").click()
    page.reload()
    page.get_by_role("button", name="Light colours").wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_it_works_by_keyboard_alone(visit):
    # Where motion is not wanted, the video waits for a key.
    watched = visit(reduced_motion="reduce")
    page = watched.open_endpoint(NINETEEN)
    page.locator("body").press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    focused = []
    for _ in range(120):
        page.keyboard.press("Tab")
        here = page.evaluate("(({ id, innerText, className }) => [id, innerText, className])(document.activeElement)")
        style = page.evaluate(
            "(({ outlineStyle, opacity }) => [outlineStyle, opacity])(getComputedStyle(document.activeElement))"
        )
        # A control that cannot be seen has its ring on the label that stands for it.
        assert style[0] != "none" or style[1] == "0", f"no focus to be seen on {here}"
        focused.append(here)
        if "run-button" in here[2]:
            break
    assert any(each[0] == "field-prompt" for each in focused)
    set_json(watched, **SMALL)
    page.locator("#field-prompt").focus()
    page.keyboard.press("Control+Enter")
    finish(page)
    page.locator(".player video").focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, "document.querySelector('.clock-frame').innerText === 'frame 2'")
    page.get_by_role("tab", name="Playground").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.innerText") == "API"
