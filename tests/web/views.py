"""A page as it is, in every width and theme: nothing overflows, is clipped or covered, and axe finds nothing serious.

With ``PLAYGROUND_SCREENSHOTS=FOLDER`` each view is kept as a picture.
"""

import os
from pathlib import Path

import pytest
from browser import Watched

LAYOUT = Path(__file__).with_name("layout.js").read_text()
AXE = Path(__file__).with_name("js") / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = [(1440, "light"), (1440, "dark"), (375, "light"), (375, "dark")]


def amiss(watched: Watched, name: str) -> dict[str, list[str]]:
    """What is wrong in each view of the state that the page is in; empty where nothing is."""
    page, found = watched.page, {}
    for width, theme in VIEWS:
        page.set_viewport_size({"width": width, "height": 900 if width > 400 else 780})
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        view = f"{name}-{width}-{theme}"
        if folder := os.environ.get("PLAYGROUND_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{view}.png")
        if faults := [*page.evaluate(LAYOUT), *_findings(watched)]:
            found[view] = faults
    return found


def _findings(watched: Watched) -> list[str]:
    """What axe-core calls serious or critical."""
    if not AXE.exists():
        reason = "needs axe-core: npm ci --prefix tests/web/js"
        if os.environ.get("STILLMOTION_TEST_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)
    # Not as a script of the page, which its policy forbids.
    watched.page.evaluate(AXE.read_text() + ";0")
    found = watched.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]} ({len(each['nodes'])})"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
