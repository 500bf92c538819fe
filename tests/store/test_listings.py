"""Listings against plain Python: any history, any question, any page size, ties included."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.store import listings, transitions
from stillmotion.store.records import Error, FailedFor, Listing, NewRequest, Succeeded, WasCancelled
from stillmotion.store.sqlite import SqliteStore

TENANTS, ENDPOINTS = "tu", ("a/b/c", "a/b/d")
OUTCOMES = {
    "": Succeeded(output="{}", files=(), model="m", inference_seconds=1.0),
    "engine_error": FailedFor(error=Error(kind="engine_error", message="broke")),
    "client_cancelled": WasCancelled(),
    None: None,
}
# Few different times, so that most of them occur more than once.
ROWS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(ENDPOINTS),
        st.integers(0, 2),
        st.integers(0, 2),
        st.sampled_from(list(OUTCOMES)),
    ),
    max_size=12,
)
QUESTIONS = st.builds(
    Listing,
    tenant=st.sampled_from(TENANTS),
    endpoints=st.sampled_from([ENDPOINTS, ENDPOINTS[:1]]),
    start=st.integers(-1, 3).map(float),
    end=st.integers(0, 6).map(float),
    kinds=st.none() | st.frozensets(st.sampled_from(["", "engine_error", "client_cancelled"])),
    id=st.sampled_from([None, None, None, "0", "3"]),
    order=st.sampled_from(["ended_at", "duration"]),
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(QUESTIONS, min_size=1, max_size=4), st.integers(1, 5))
def test_pages_are_the_history_cut_in_pieces(rows, questions, most):
    asyncio.run(check(rows, questions, most))


async def check(rows, questions, most):
    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "db")
        try:
            for number, row in enumerate(rows):
                await make(store, str(number), *row)
            for question in questions:
                pages = await read(store, question, most)
                assert pages == meant(rows, question)
        finally:
            await store.close()


async def make(store, id, tenant, endpoint, started, seconds, kind):
    new = NewRequest(id=id, tenant=tenant, app="a/b", endpoint=endpoint, origin="queue", input="{}", max_attempts=1)
    await store.write(transitions.submit(new, now=0.0))
    claim = await store.write(transitions.claim("lease", now=float(started), expires=9.0))
    if outcome := OUTCOMES[kind]:
        await store.write(transitions.settle(claim.fence, outcome, now=float(started + seconds)))


async def read(store, question, most):
    found, page = [], None
    while page is None or len(page) == most:
        page = await store.read(listings.ended(question, most))
        assert len(page) <= most
        found += [request.id for _, request in page]
        question = replace(question, after=page[-1][0]) if page else question
    return found


def meant(rows, question):
    """The ids in order: the sort key first, then the later request."""
    found = []
    for number, (tenant, endpoint, started, seconds, kind) in enumerate(rows):
        fits = (
            kind is not None
            and tenant == question.tenant
            and endpoint in question.endpoints
            and question.start <= started + seconds < question.end
            and (question.kinds is None or kind in question.kinds)
            and question.id in (None, str(number))
        )
        if fits:
            found.append((started + seconds if question.order == "ended_at" else seconds, number))
    return [str(number) for _, number in sorted(found, reverse=True)]
