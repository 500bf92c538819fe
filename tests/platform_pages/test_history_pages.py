"""Pages of the history against plain Python: any history, any question, any page size, ties and long looks too."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.store import history, statements, transitions
from stillmotion.store.history import Question
from stillmotion.store.records import Error, Made, NewRequest, StoredFile, Succeeded
from stillmotion.store.sqlite import SqliteStore

TENANTS, ENDPOINTS = "tu", ("a/b/c", "a/b/d", "a/b/e")
PROMPTS = ("a cat", "A CAT and a dog", "50% off_", "5 of \\ 50", "ÄPFEL", "", None)
WORDS = ("cat", "dog", "%", "_", "\\", "äpfel", "zebra")
STATES = ("queued", "failed", "done")
ROWS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(ENDPOINTS),
        st.integers(0, 3),
        st.sampled_from(STATES),
        st.sampled_from(PROMPTS),
        st.booleans(),
        st.booleans(),
    ),
    max_size=14,
)


def seldom(*values):
    """Most often no condition at all: of many together, hardly anything is left."""
    return st.one_of(st.none(), st.none(), st.sampled_from(values))


CONDITIONS = st.fixed_dictionaries(
    {"tenant": st.sampled_from(TENANTS)},
    optional={
        "endpoints": seldom(ENDPOINTS[:1], ENDPOINTS[:2], ENDPOINTS),
        "states": seldom(frozenset({"done"}), frozenset({"failed", "queued"}), frozenset({"running"})),
        "start": st.sampled_from([0.0, 1.0, 2.5]),
        "after": st.sampled_from([(3.0, 0), (2.0, 0), (1.0, 5)]),
        "pinned": seldom(True, False),
        "words": seldom(*((word,) for word in WORDS), ("cat", "dog")).map(lambda words: words or ()),
    },
)
QUESTIONS = CONDITIONS.map(lambda conditions: Question(**conditions))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store for all examples, each with tenants of its own: to open one takes longer than to ask it."""
    with asyncio.Runner() as runner:
        store = runner.run(SqliteStore.open(tmp_path_factory.mktemp("history") / "db"))
        yield runner, store
        runner.run(store.close())


EXAMPLES = itertools.count()


@settings(max_examples=60)
@given(ROWS, st.lists(QUESTIONS, min_size=1, max_size=5), st.integers(1, 4))
def test_pages_are_the_requests_that_fit_cut_in_pieces(shared, rows, questions, most):
    runner, store = shared
    runner.run(check(store, f"{next(EXAMPLES)}-", rows, questions, most))


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        *({"endpoints": ENDPOINTS[:count]} for count in (1, 2, 3)),
        *({"states": frozenset({state})} for state in (*STATES, "running")),
        {"states": frozenset({"queued", "done"})},
        *({"start": start} for start in (1.0, 2.5)),
        *({"after": after} for after in ((3.0, 0), (1.0, 5))),
        *({"pinned": pinned} for pinned in (True, False)),
        *({"words": (word,)} for word in WORDS),
        {"words": ("cat", "dog")},
    ],
)
def test_each_condition_alone(shared, conditions):
    runner, store = shared
    rows = [
        (tenant, ENDPOINTS[n % 3], n % 4, STATES[n % 3], PROMPTS[n % 7], n % 5 == 0, n % 8 == 7)
        for n in range(42)
        for tenant in TENANTS[: 1 + n % 2]
    ]
    rows += [("t", ENDPOINTS[0], 3, "queued", "a cat", pinned, False) for pinned in (True, False)]
    question = Question(tenant="t", **conditions)
    assert meant(rows, question) or conditions.get("words") == ("zebra",)
    runner.run(check(store, f"{next(EXAMPLES)}-", rows, [question], 4))


async def check(store, example, rows, questions, most):
    first = await store.read(newest())
    for number, (tenant, *row) in enumerate(rows):
        await make(store, f"{example}{number}", example + tenant, *row)
    for question in questions:
        asked = replace(question, tenant=example + question.tenant, after=moved(question.after, first))
        found = [id.removeprefix(example) for id in await read(store, asked, most)]
        assert found == meant(rows, question)
    while await store.write(transitions.claim("lease", now=9.0, expires=99.0)):
        pass


def newest():
    (row,) = yield statements.NEWEST, {}
    return row["seq"]


def moved(place, first):
    """A place among this example's requests, whose numbers begin behind ``first``."""
    return place[0], place[1] + first


async def make(store, id, tenant, endpoint, at, state, prompt, pinned, deleted):
    new = NewRequest(
        id=id, tenant=tenant, app="a/b", endpoint=endpoint, origin="queue", input="{}", prompt=prompt, max_attempts=1
    )
    error = Error(kind="engine_error", message="broke") if state == "failed" else None
    await store.write(transitions.submit(new, now=float(at), error=error))
    if state == "done":
        claim = None
        # Others wait too: claimed by number, whichever they are.
        while claim is None or claim.fence.id != id:
            claim = await store.write(transitions.claim("lease", now=9.0, expires=99.0))
        made = Made(seed=1, width=2, height=4, num_frames=9, fps=25.0)
        outcome = Succeeded(output="{}", files=(), model="m", inference_seconds=1.0, made=made)
        await store.write(transitions.settle(claim.fence, outcome, now=10.0))
    if pinned:
        await store.write(history.pin(tenant, id, now=1.0))
    if deleted:
        await store.write(transitions.delete_payloads(tenant, id))


async def read(store, question, most):
    found = []
    while True:
        page = await store.read(history.page(question, most, now=0.0))
        assert len(page.items) <= most
        found += [item.request.id for item in page.items]
        if page.behind is None:
            return found
        question = replace(question, after=page.behind)


def meant(rows, question):
    states = ["running" if claimed(rows, number) else row[3] for number, row in enumerate(rows)]
    fit = [
        (float(at), number + 1)
        for number, (tenant, endpoint, at, state, prompt, pinned, deleted) in enumerate(rows)
        if tenant == question.tenant
        and (question.endpoints is None or endpoint in question.endpoints)
        and (question.states is None or states[number] in question.states)
        and at >= question.start
        and (float(at), number + 1) < question.after
        and question.pinned in (None, pinned)
        and all(word in (prompt or "").casefold() for word in question.words)
        and not (deleted and state in ("failed", "done"))
    ]
    return [str(seq - 1) for _, seq in sorted(fit, reverse=True)]


def claimed(rows, number):
    """A waiting request that came before one that was run was claimed on the way to it, and runs still."""
    return rows[number][3] == "queued" and any(row[3] == "done" for row in rows[number + 1 :])


@pytest.fixture
async def store(tmp_path):
    found = await SqliteStore.open(tmp_path / "db")
    yield found
    await found.close()


async def test_a_look_is_bounded_and_the_next_one_goes_on(store):
    def submit(number):
        new = NewRequest(
            id=str(number),
            tenant="t",
            app="a/b",
            endpoint="a/b/c",
            origin="queue",
            input="{}",
            prompt="needle" if number == 1 else "hay",
            max_attempts=1,
        )
        return store.write(transitions.submit(new, now=float(number)))

    await asyncio.gather(*(submit(number) for number in range(history.SCANNED + 3)))
    question = Question(tenant="t", words=("needle",))
    first = await store.read(history.page(question, 5, now=0.0))
    assert first.items == []
    assert first.behind == (3.0, 4)
    second = await store.read(history.page(replace(question, after=first.behind), 5, now=0.0))
    assert [item.request.id for item in second.items] == ["1"]
    assert second.behind is None


async def test_a_copy_is_named_only_beside_its_original_and_ends_with_it(store):
    await make(store, "0", "t", "a/b/c", 0, "done", "p", False, False)
    copy = StoredFile(name="copy.mp4", content_type="video/mp4", size=1, role="playable")
    # Its output has no file in this store: nothing to be a copy of.
    assert await store.write(history.add_copy("t", "0", copy, now=1.0)) is None
    new = NewRequest(id="1", tenant="t", app="a/b", endpoint="a/b/c", origin="queue", input="{}", max_attempts=1)
    await store.write(transitions.submit(new, now=1.0))
    claim = await store.write(transitions.claim("lease", now=2.0, expires=9.0))
    files = (StoredFile(name="o.gif", content_type="image/gif", size=3, expires_at=50.0, role="output"),)
    outcome = Succeeded(output="{}", files=files, model="m", inference_seconds=1.0)
    await store.write(transitions.settle(claim.fence, outcome, now=3.0))
    assert await store.write(history.add_copy("somebody", "1", copy, now=4.0)) is None
    assert (await store.write(history.add_copy("t", "1", copy, now=4.0))).expires_at == 50.0
    shown = await store.read(history.get("t", "1", now=49.0))
    assert (shown.output, shown.playable, shown.content_type) == ("o.gif", "copy.mp4", "image/gif")
    late = await store.read(history.get("t", "1", now=50.0))
    assert (late.output, late.playable) == (None, None)
    _, files = await store.write(transitions.delete_payloads("t", "1"))
    assert sorted(files) == [("copy.mp4", "playable"), ("o.gif", "output")]
    assert await store.write(history.add_copy("t", "1", copy, now=5.0)) is None
    assert await store.read(history.get("t", "1", now=5.0)) is None
