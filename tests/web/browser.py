"""Debian's Chromium, driven by Playwright, and pages that are watched: what no page may do is asserted for each."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

NINETEEN = "fal-ai/ltx-2-19b/image-to-video"
ENDPOINTS = (
    "fal-ai/ltx-2/image-to-video",
    "fal-ai/ltx-2.3/image-to-video",
    NINETEEN,
    "fal-ai/ltx-2.3-22b/image-to-video/lora",
    "fal-ai/ltx-2.3-quality/image-to-video",
)
PHOTOGRAPHS = Path(__file__).parents[2] / "examples"
WAIT_MS = 20_000


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Containers run tests as root, where Chromium's own sandbox refuses to start; nothing but our pages is opened.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, the requests that it made, and what it complained of."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.context = context
        self.base = base
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self.expected: tuple[str, ...] = ()
        """What a complaint may hold: Chromium logs every answer of 400 or more as an error."""
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", lambda request: self.requests.append(request))

    def open(self, path: str) -> Page:
        self.page.goto(self.base + path)
        self.page.wait_for_selector("main")
        return self.page

    def open_endpoint(self, endpoint: str = NINETEEN, tab: str = "") -> Page:
        page = self.open(f"/models/{endpoint}{f'#{tab}' if tab else ''}")
        page.wait_for_selector("[role=tablist]")
        return page

    def json(self) -> str:
        """What would be sent now, as the JSON view has it."""
        self.page.get_by_role("tab", name="JSON").click()
        text = self.page.locator("#json-text").input_value()
        self.page.get_by_role("tab", name="Form", exact=True).click()
        return text

    def check(self) -> None:
        """Nothing was complained of, and nobody else was asked."""
        unexpected = [each for each in self.complaints if not any(part in each for part in self.expected)]
        assert unexpected == []
        ours = urlsplit(self.base).netloc
        outside = [
            request.url
            for request in self.requests
            if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).netloc != ours
        ]
        assert outside == []

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")


def wait_until(page: Page, expression: str) -> None:
    """Until an expression is true in the page. Playwright's own waiting evaluates inside the page, which the policy of
    ours forbids."""
    end = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(25)
