"""How soon the playground can be used: cold loads of its pages in a real browser, from the navigation on."""

import asyncio
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from platform_process import HOST, platform_process

from bench.report import Section

RUNS = 9
GOAL_SECONDS = 1.0
ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"
PAGES = {
    f"/models/{ENDPOINT}": ("endpoint page, until *Run* can be pressed", ".run-button:not(:disabled)"),
    "/": ("first page, until the cards are there", ".card:not(.loading)"),
    "/operations": ("operators' page, until its engines are there", ".op-engine"),
}
METHOD = f"""`stillmotion serve --engine mock` on loopback and Debian's Chromium without a window. Each of {RUNS} loads
has a new profile, so that nothing is cached; before them one that is not counted. Seconds are the page's own, from the
beginning of the navigation to the moment at which the element is there, by a MutationObserver. Bytes are those that the
network carried until it was idle."""

_WATCH = """
(selector) => {
  const look = () => {
    if (!globalThis.usableAt && document.querySelector(selector)) globalThis.usableAt = performance.now();
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
}
"""


def bench() -> Section:
    """Raises FileNotFoundError where there is no browser, or nothing that drives it."""
    if (browser := shutil.which("chromium")) is None:
        raise FileNotFoundError("chromium; on Debian: apt install chromium")
    return asyncio.run(_measure(browser))


async def _measure(browser: str) -> Section:
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        raise FileNotFoundError("playwright; pip install playwright") from None
    rows = []
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        async with platform_process(Path(folder), card_samples="false") as server, async_playwright() as playwright:
            # As root Chromium's own sandbox refuses to start; nothing but this server's pages is opened.
            chromium = await playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            for path, (name, selector) in PAGES.items():
                url = f"http://{HOST}:{server.port}{path}"
                loads = [await _load(chromium, url, selector) for _ in range(1 + RUNS)][1:]
                seconds = [each["seconds"] for each in loads]
                median = statistics.median(seconds)
                goal = "" if path == "/operations" else f" (goal <= {GOAL_SECONDS:.0f} s)"
                rows.append(
                    (
                        name,
                        f"{median:.2f} s{goal}, {min(seconds):.2f} to {max(seconds):.2f}; "
                        f"{loads[-1]['bytes'] / 1000:.0f} kB in {loads[-1]['requests']} requests",
                    )
                )
            await chromium.close()
    return Section(title="the first page", method=METHOD, rows=rows)


async def _load(chromium: Any, url: str, selector: str) -> dict[str, float]:
    context = await chromium.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = await context.new_page()
        await page.add_init_script(f"({_WATCH})({selector!r})")
        network = await context.new_cdp_session(page)
        await network.send("Network.enable")
        received: list[float] = []
        network.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
        await page.goto(url)
        await page.wait_for_selector(selector)
        await page.wait_for_load_state("networkidle")
        milliseconds = await page.evaluate("globalThis.usableAt")
        return {"seconds": milliseconds / 1000, "bytes": sum(received), "requests": len(received)}
    finally:
        await context.close()
