"""A video that was made here, dropped on the form or chosen, brings its settings back."""

import json
from pathlib import Path
from typing import Any

import pytest
from browser import NINETEEN, PHOTOGRAPHS, wait_until
from run_page import files

from serving import serving

QUALITY = "fal-ai/ltx-2.3-quality/image-to-video"
WEBM, MOV = "VP9 (.webm)", "PRORES4444 (.mov)"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A server with the sources of its own videos: name of the file to the path and the input with its seed."""
    folder = tmp_path_factory.mktemp("drop")
    with serving(folder / "data", mock_seconds=0.05) as server, server.client() as client:
        photo = client.get("/v1/samples").json()["samples"][0]["url"]
        small = {"image_url": photo, "video_size": {"width": 64, "height": 64}, "num_frames": 9}
        found: dict[str, Any] = {"server": server}
        for name, endpoint, input in (
            ("fox.mp4", NINETEEN, {"prompt": "a fox, ünïcode 🦊", "seed": 2**60 + 1, "fps": 24.5, **small}),
            ("sea.webm", NINETEEN, {"prompt": "the sea", "seed": 3, "video_output_type": WEBM, **small}),
            ("owl.mov", NINETEEN, {"prompt": "an owl", "seed": 4, "video_output_type": MOV, **small}),
            ("other.mp4", QUALITY, {"prompt": "elsewhere", "seed": 7, **small}),
        ):
            answer = client.post(f"/run/{endpoint}", json=input)
            assert answer.status_code == 200, answer.text
            path = folder / name
            path.write_bytes(client.get(answer.json()["video"]["url"]).content)
            seed = {"seed": answer.json()["seed"]} if "seed" in answer.json() else {}
            found[name] = (path, input | seed)
        found["bare.mp4"] = folder / "bare.mp4"
        bare(found["fox.mp4"][0], found["bare.mp4"])
        yield found


def bare(source: Path, target: Path) -> None:
    """The same pictures in a file that does not say how they were made."""
    import av

    with av.open(str(source)) as given, av.open(str(target), "w") as kept:
        stream = kept.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                kept.mux(packet)


def drop(page: Any, path: Path, type: str, on: str = ".input") -> None:
    """A drop where the form has no field for it. Chromium has no size limit on what a test puts into a transfer."""
    transfer = files(page, path, type)
    for event in ("dragenter", "dragover", "drop"):
        page.locator(on).dispatch_event(event, {"dataTransfer": transfer})


def test_a_dropped_mp4_restores_the_form_and_can_be_undone(visit, made):
    watched = visit(server=made["server"])
    page = watched.open_endpoint()
    before = watched.json()
    path, input = made["fox.mp4"]
    drop(page, path, "video/mp4")
    page.wait_for_selector(".restored")
    assert json.loads(watched.json()) == input
    assert page.locator("#field-prompt").input_value() == input["prompt"]
    assert "fox.mp4" in page.locator(".restored").inner_text()
    page.get_by_role("button", name="Undo").click()
    assert watched.json() == before


def test_a_webm_is_chosen_by_keyboard(visit, made):
    watched = visit(server=made["server"])
    page = watched.open_endpoint()
    path, input = made["sea.webm"]
    button = page.get_by_role("button", name="From a video")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("tab", name="Form", exact=True).focus()
        page.keyboard.press("Tab")
        assert button.evaluate("each => each === document.activeElement")
        page.keyboard.press("Enter")
    chooser.value.set_files(path)
    page.wait_for_selector(".restored")
    assert json.loads(watched.json()) == input


def test_a_large_file_is_told_by_its_head_and_its_tail(visit, made, tmp_path):
    """What a QuickTime file says of itself stands at its end; the middle is not sent."""
    path, input = made["owl.mov"]
    content = path.read_bytes()
    large = tmp_path / "large.mov"
    # An atom that players skip, behind the file's type.
    first = int.from_bytes(content[:4])
    large.write_bytes(content[:first] + (3_000_008).to_bytes(4) + b"free" + bytes(3_000_000) + content[first:])
    watched = visit(server=made["server"])
    page = watched.open_endpoint()
    page.locator(".from-video").set_input_files(large)
    page.wait_for_selector(".restored")
    assert json.loads(watched.json()) == input
    (asked,) = (each for each in watched.requests if "embedded-settings" in each.url)
    assert f"size={large.stat().st_size}" in asked.url


def test_settings_of_another_endpoint_open_its_page(visit, made):
    watched = visit(server=made["server"])
    page = watched.open_endpoint()
    before = watched.json()
    path, input = made["other.mp4"]
    drop(page, path, "video/mp4")
    page.wait_for_url(f"**/models/{QUALITY}")
    page.wait_for_selector(".restored")
    assert "other.mp4" in page.locator(".restored").inner_text()
    assert json.loads(watched.json()) == input
    page.get_by_role("button", name="Undo").click()
    assert json.loads(watched.json())["prompt"] != "elsewhere"
    page.reload()
    page.wait_for_selector(".run-button")
    # What was told once is not told again.
    assert page.locator(".restored").count() == 0
    watched.open_endpoint()
    assert watched.json() == before


@pytest.mark.parametrize(
    ("name", "type", "told"),
    [
        ("bare.mp4", "video/mp4", "bare.mp4 holds no settings"),
        ("README.md", "video/mp4", "README.md is no video that settings can be read from"),
    ],
)
def test_a_file_without_settings_is_told_and_changes_nothing(visit, made, name, type, told):
    watched = visit(server=made["server"])
    watched.expected = ("404", "400")
    page = watched.open_endpoint()
    before = watched.json()
    drop(page, made.get(name) or PHOTOGRAPHS / name, type)
    page.wait_for_selector(".input .notice")
    assert told in page.locator(".input .notice").inner_text()
    assert watched.json() == before
    page.get_by_role("button", name="Dismiss").click()
    assert page.locator(".input .notice").count() == 0


def test_a_picture_on_its_field_stays_a_picture_and_a_video_there_is_settings(visit, made):
    watched = visit(server=made["server"])
    page = watched.open_endpoint()
    drop(page, PHOTOGRAPHS / "chelsea.png", "image/png", "[data-field=end_image_url] .picture-well")
    wait_until(page, "document.querySelector('[data-field=end_image_url] .picture-size')?.innerText === '451 × 300'")
    assert page.locator(".restored, .input .notice").count() == 0
    path, input = made["fox.mp4"]
    drop(page, path, "video/mp4", "[data-field=image_url] .picture-well")
    page.wait_for_selector(".restored")
    assert json.loads(watched.json()) == input


def test_what_was_inside_the_request_is_asked_for_again(visit, made, tmp_path):
    from serving import data_uri, picture

    with made["server"].client() as client:
        small = {"video_size": {"width": 64, "height": 64}, "num_frames": 9, "seed": 5}
        answer = client.post(f"/run/{NINETEEN}", json={"prompt": "inside", "image_url": data_uri(picture()), **small})
        path = tmp_path / "inside.mp4"
        path.write_bytes(client.get(answer.json()["video"]["url"]).content)
    watched = visit(server=made["server"])
    page = watched.open_endpoint()
    drop(page, path, "video/mp4")
    page.wait_for_selector(".restored")
    assert "inside the request: Image." in page.locator(".restored").inner_text()
    assert json.loads(watched.json()) == {"prompt": "inside", **small}
