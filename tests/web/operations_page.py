"""Steps on the operators' page that several tests take."""

import asyncio
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

from browser import Watched
from playwright.sync_api import Page

from stillmotion.store import transitions
from stillmotion.store.records import Charge, Made, NewRequest, Succeeded
from stillmotion.store.sqlite import SqliteStore

DAY = 86400.0
CHARGE = Charge(quantity=Decimal(112), unit="megapixels", unit_price=Decimal("0.0018"), cost=Decimal("0.2016"))
MADE = Made(seed=1, width=1280, height=720, num_frames=121, fps=25.0)
OPEN = {"host": "0.0.0.0", "insecure_http": "true", "safety": "off"}
"""A server for other machines: it asks for keys."""


def open_section(watched: Watched, section: str, key: str | None = None) -> Page:
    """The page with ``section``, as somebody who has set ``key`` in the tab before."""
    if key is not None:
        watched.page.add_init_script(f"sessionStorage.setItem('stillmotion.key', {key!r})")
    page = watched.open(f"/operations#{section}")
    page.wait_for_selector(f"#operations-panel-{section}:not([hidden])")
    return page


def made_before(data: Path, made: Iterable[tuple[str, float, float, str]]) -> None:
    """Writes successes into the database of a server that does not run: key, days ago, GPU seconds, endpoint."""
    data.mkdir(parents=True, exist_ok=True)
    # On a thread of its own: Playwright has an event loop on this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _write(data, made)).result()


async def _write(data: Path, made: Iterable[tuple[str, float, float, str]]) -> None:
    store = await SqliteStore.open(data / "stillmotion.db")
    try:
        for tenant, days, gpu_seconds, endpoint in made:
            at = time.time() - days * DAY
            new = NewRequest(
                id=str(uuid.uuid4()),
                tenant=tenant,
                app=endpoint.rpartition("/")[0],
                endpoint=endpoint,
                origin="queue",
                input="{}",
                max_attempts=1,
            )
            await store.write(transitions.submit(new, now=at - 60))
            claim = await store.write(transitions.claim(new.id, now=at - 50, expires=store.tick() + 60))
            assert claim is not None
            done = Succeeded(output="{}", files=(), model="m", inference_seconds=gpu_seconds, charge=CHARGE, made=MADE)
            assert await store.write(transitions.settle(claim.fence, done, now=at, gpu_seconds=gpu_seconds))
    finally:
        await store.close()
