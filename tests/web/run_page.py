"""Steps on the playground that several tests take."""

import base64
import json
from pathlib import Path
from typing import Any

from browser import PHOTOGRAPHS, Watched, wait_until
from playwright.sync_api import Page

SMALL = {"video_size": {"width": 128, "height": 96}, "num_frames": 17, "num_inference_steps": 8}
"""A request that is done in a moment."""

_TRANSFER = """
([content, name, type]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}
"""


def files(page: Page, path: Path, type: str) -> Any:
    """A DataTransfer of the page's that holds the file, as the system gives one for a drop or a paste."""
    content = base64.b64encode(path.read_bytes()).decode()
    return page.evaluate_handle(_TRANSFER, [content, path.name, type])


def drop(page: Page, field: str, path: Path = PHOTOGRAPHS / "chelsea.png", type: str = "image/png") -> None:
    well = page.locator(f"[data-field={field}] .picture-well")
    transfer = files(page, path, type)
    for event in ("dragenter", "dragover", "drop"):
        well.dispatch_event(event, {"dataTransfer": transfer})


def paste(page: Page, selector: str, path: Path = PHOTOGRAPHS / "rocket.jpg", type: str = "image/jpeg") -> None:
    page.locator(selector).evaluate(
        """(element, transfer) => element.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }))""",
        files(page, path, type),
    )


def set_json(watched: Watched, **changes: Any) -> dict[str, Any]:
    """Changes the input in the JSON view; gives what it is then."""
    changed = json.loads(watched.json()) | changes
    page = watched.page
    page.get_by_role("tab", name="JSON").click()
    page.locator("#json-text").fill(json.dumps(changed))
    page.get_by_role("tab", name="Form", exact=True).click()
    return changed


def run(page: Page) -> None:
    page.locator(".run-button").click()


def finish(page: Page) -> None:
    page.wait_for_selector(".player video")
    wait_until(page, "document.querySelector('.player video').readyState >= 2")


def shown_facts(page: Page) -> dict[str, str]:
    return dict(
        page.locator(".facts > div").evaluate_all(
            "all => all.map((each) => [each.querySelector('dt').innerText, each.querySelector('dd').innerText])"
        )
    )
