"""Which waiting request an engine gets, against the rule as one sentence of Python."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.store import transitions
from stillmotion.store.records import PRIORITIES, NewRequest, Options, Selection
from stillmotion.store.sqlite import SqliteStore

ENDPOINTS, WEIGHTS = ("a/a", "b/b", "c/c"), ("", "x", "y")
SOME = st.lists(st.sampled_from(ENDPOINTS), unique=True).map(tuple)
WAITING = st.lists(
    st.tuples(st.sampled_from(ENDPOINTS), st.sampled_from(WEIGHTS), st.sampled_from(PRIORITIES)), max_size=8
)
SELECTIONS = st.builds(
    Selection,
    endpoints=SOME,
    warm=SOME,
    weights=st.sampled_from(WEIGHTS),
    impatient_before=st.integers(0, 9).map(float),
)


def chosen(waiting: list[tuple[int, str, str, str]], wanted: Selection) -> int | None:
    """Requests were created at the second of their number, so the smallest is the longest waiting."""
    able = sorted(request for request in waiting if request[1] in wanted.endpoints)
    if not able:
        return None
    able = [request for request in able if request[3] == "normal"] or able
    groups = (
        [request for request in able[:1] if request[0] < wanted.impatient_before],
        [request for request in able if request[1] in wanted.warm and request[2] == wanted.weights],
        [request for request in able if request[1] in wanted.warm],
        able,
    )
    return next(group[0][0] for group in groups if group)


@settings(max_examples=60, deadline=None)
@given(waiting=WAITING, selections=st.lists(SELECTIONS, max_size=8))
def test_an_engine_gets_what_it_prefers(waiting: list[tuple[str, str, str]], selections: list[Selection]) -> None:
    # What is in memory is of a model that the engine may hold.
    selections = [
        Selection(
            endpoints=wanted.endpoints,
            warm=tuple(endpoint for endpoint in wanted.warm if endpoint in wanted.endpoints),
            weights=wanted.weights,
            impatient_before=wanted.impatient_before,
        )
        for wanted in selections
    ]

    async def scenario(path: Path) -> None:
        store = await SqliteStore.open(path)
        left = []
        for number, (endpoint, weights, priority) in enumerate(waiting):
            new = NewRequest(
                id=str(number),
                tenant="t",
                app="a/a",
                endpoint=endpoint,
                origin="queue",
                input="{}",
                max_attempts=3,
                weights=weights,
                options=Options(priority=priority),
            )
            await store.write(transitions.submit(new, now=float(number)))
            left.append((number, endpoint, weights, priority))
        for wanted in selections:
            claim = await store.write(transitions.claim("lease", now=20.0, expires=30.0, selection=wanted))
            assert (claim and int(claim.fence.id)) == chosen(left, wanted)
            if claim is not None:
                (taken,) = [request for request in left if request[0] == int(claim.fence.id)]
                assert (claim.endpoint, claim.weights) == taken[1:3]
                left.remove(taken)
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder) / "db"))
