"""From a photograph to a video that plays, in a real browser: what a person does on the first visit."""

import json
import re

import pytest
from browser import PHOTOGRAPHS, wait_until
from run_page import SMALL, drop, finish, paste, run, set_json, shown_facts


def test_a_dropped_photograph_becomes_a_video_that_plays(visit):
    watched = visit()
    page = watched.open_endpoint()
    drop(page, "image_url")
    wait_until(page, "document.querySelector('.picture-size')?.innerText === '451 × 300'")
    set_json(watched, prompt="A cat turns its head", seed=7, **SMALL)
    run(page)
    finish(page)
    video = page.locator(".player video")
    assert video.evaluate("each => [each.videoWidth, each.videoHeight]") == [128, 96]
    assert video.evaluate("each => each.duration") == pytest.approx(17 / 25, abs=0.03)
    video.evaluate("each => each.play()")
    wait_until(page, "document.querySelector('.player video').currentTime > 0.1")
    page.wait_for_selector(".waveform:not([hidden])", state="attached")
    wait_until(page, "document.querySelector('.facts').innerText.includes('Cost on fal')")
    shown = shown_facts(page)
    assert (shown["Size"], shown["Frames"], shown["Rate"], shown["Seed"]) == ("128 × 96", "17", "25 fps", "7")


def test_a_pasted_photograph_is_the_start_frame(visit):
    watched = visit()
    page = watched.open_endpoint()
    paste(page, "#field-prompt")
    wait_until(page, "document.querySelector('.picture-size')?.innerText === '640 × 427'")
    assert re.fullmatch(rf"{re.escape(watched.base)}/cdn/files/b/.+\.jpg", json.loads(watched.json())["image_url"])


def test_a_photograph_is_turned_upright(visit, tmp_path):
    from PIL import Image

    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(PHOTOGRAPHS / "rocket.jpg") as image:
        image.save(turned, exif=exif)
    watched = visit()
    page = watched.open_endpoint()
    drop(page, "image_url", turned, "image/jpeg")
    wait_until(page, "document.querySelector('.picture-size')?.innerText === '427 × 640'")


def test_start_and_end_frame_stand_side_by_side(visit):
    page = visit().open_endpoint()
    drop(page, "end_image_url")
    page.wait_for_selector("[data-field=end_image_url] img")
    start, end = (page.locator(f"[data-field={name}]").bounding_box() for name in ("image_url", "end_image_url"))
    assert start["y"] == end["y"]
    assert end["x"] > start["x"] + start["width"]


def test_work_goes_on_through_a_reload_and_a_closed_tab(visit, web_server):
    watched = visit()
    page = watched.open_endpoint()
    drop(page, "image_url")
    page.wait_for_selector("[data-field=image_url] .picture-size")
    set_json(watched, prompt="through a reload", **SMALL | {"num_inference_steps": 40})
    run(page)
    wait_until(page, "document.querySelector('progress')?.value > 10")
    assert re.search(r"Step \d+ of 40, about .* left", page.locator(".working-detail").inner_text())
    id = page.locator(".log-id code").inner_text()
    page.reload()
    page.wait_for_selector(".stage.working")
    assert page.locator(".log-id code").inner_text() == id
    page.close()
    again = watched.context.new_page()
    again.goto(f"{watched.base}/models/fal-ai/ltx-2-19b/image-to-video")
    finish(again)
    again.locator(".log summary").click()
    assert again.locator(".log-id code").inner_text() == id
    assert "mock engine" in again.locator(".log ol").inner_text()
    # What was begun is not begun twice.
    with web_server.client() as client:
        found = client.get("/v1/requests", params={"q": "through reload"}).json()["items"]
        assert [each["request_id"] for each in found] == [id]


def test_a_run_is_cancelled(visit, web_server):
    watched = visit()
    watched.expected = ("499",)
    page = watched.open_endpoint()
    drop(page, "image_url")
    page.wait_for_selector("[data-field=image_url] .picture-size")
    set_json(watched, prompt="cancelled", **SMALL | {"num_inference_steps": 50})
    run(page)
    wait_until(page, "document.querySelector('progress')?.value > 0")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".stage.ended")
    assert "Cancelled" in page.locator(".stage.ended").inner_text()
    page.get_by_role("button", name="Dismiss").click()
    page.wait_for_selector(".stage.empty")


def test_the_apis_own_words_stand_at_the_field(visit):
    watched = visit()
    watched.expected = ("422",)
    page = watched.open_endpoint()
    page.locator("#field-prompt").fill("faulty")
    page.locator("#field-num_frames").fill("500")
    run(page)
    fault = page.locator("#field-num_frames-fault")
    fault.wait_for()
    assert fault.inner_text() == "Input should be less than or equal to 481"
    assert page.locator("#field-num_frames").get_attribute("aria-invalid") == "true"
    # The fault goes with what caused it.
    page.locator("#field-num_frames").fill("17")
    fault.wait_for(state="detached")


def test_a_fault_inside_a_list_is_told_with_its_place(visit):
    watched = visit()
    watched.expected = ("422",)
    page = watched.open_endpoint("fal-ai/ltx-2.3-22b/image-to-video/lora")
    page.get_by_role("button", name="Add a LoRA").click()
    page.get_by_label("Path", exact=True).fill("a/b")
    page.get_by_label("Scale", exact=True).fill("9")
    run(page)
    page.locator("#field-loras-fault").wait_for()
    assert page.locator("#field-loras-fault code").inner_text() == "0.scale"


def test_the_last_frame_becomes_the_start_frame_with_the_same_seed(visit):
    watched = visit()
    page = watched.open_endpoint()
    drop(page, "image_url")
    page.wait_for_selector("[data-field=image_url] .picture-size")
    before = set_json(watched, prompt="again", seed=3, **SMALL)
    run(page)
    finish(page)
    page.get_by_role("button", name="Use last frame as start").click()
    wait_until(page, "document.querySelector('.picture-size')?.innerText === '128 × 96'")
    assert json.loads(watched.json())["image_url"] != before["image_url"]
    page.get_by_role("button", name="Same seed, change one thing").click()
    assert json.loads(watched.json()) == before


def test_a_player_steps_by_frames(visit):
    watched = visit()
    page = watched.open_endpoint()
    drop(page, "image_url")
    page.wait_for_selector("[data-field=image_url] .picture-size")
    set_json(watched, prompt="steps", **SMALL)
    run(page)
    finish(page)
    page.locator(".player video").evaluate("each => { each.pause(); each.currentTime = 0; }")
    for _ in range(3):
        page.get_by_role("button", name="One frame on").click()
    wait_until(page, "document.querySelector('.clock-frame').innerText === 'frame 4'")
    page.get_by_role("button", name="One frame back").click()
    wait_until(page, "document.querySelector('.clock-frame').innerText === 'frame 3'")
    assert page.locator(".player video").evaluate("each => Math.floor(each.currentTime * 25)") == 2


@pytest.mark.parametrize(("type", "kind"), [("PRORES4444 (.mov)", "ProRes"), ("GIF (.gif)", "GIF")])
def test_what_browsers_do_not_play_is_shown_as_a_copy(visit, type, kind):
    watched = visit()
    page = watched.open_endpoint()
    set_json(watched, prompt=kind, video_output_type=type, **SMALL)
    run(page)
    finish(page)
    assert page.locator(".player video").evaluate("each => [each.videoWidth, each.videoHeight]") == [128, 96]
    assert kind in page.locator(".preview-note").inner_text()
    assert page.get_by_role("link", name=f"Download {kind}").get_attribute("href").endswith((".mov", ".gif"))
