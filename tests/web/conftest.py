"""A browser for each file, a server for all of them, and a watched page for each test."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from requirements import need_package, need_program
from serving import Server, serving

if TYPE_CHECKING:
    from browser import Watched
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each request takes a moment, so that there is progress to see."""
    with serving(tmp_path_factory.mktemp("web-server"), mock_seconds=1.2, log_level="warning") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    need_package("playwright", "pip install playwright")
    path = need_program("chromium")
    from browser import chromium

    # Not for the session: Playwright keeps an event loop open, which other files' asynchronous tests would meet.
    with chromium(path) as found:
        yield found


@pytest.fixture
def visit(browser: "Browser", web_server: Server) -> "Iterator[Callable[..., Watched]]":
    """Opens watched pages, each in a profile of its own; what they must not do is asserted at the end."""
    from browser import Watched

    opened: list[Watched] = []

    def open_one(*, server: Server = web_server, width: int = 1440, height: int = 900, **options: Any) -> Watched:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        opened.append(Watched(context, server.http))
        return opened[-1]

    yield open_one
    for each in opened:
        each.context.close()
    for each in opened:
        each.check()
