"""The SQL of the summaries: what a listing shows of a request, beside the payloads that it does not open."""

from typing import Any

from sqlalchemy import Executable, bindparam, delete, insert, select, update

from stillmotion.job import to_json
from stillmotion.store import tables
from stillmotion.store.records import Made

_s, _r = tables.summaries.c, tables.requests.c
_MADE = ("seed", "width", "height", "num_frames", "fps")

MAX_PROMPT = 5000
"""Characters that are kept and searched; longer ones are refused by every endpoint, but the request is stored."""

INSERT_SUMMARY = insert(tables.summaries).values(
    seq=bindparam("seq"), prompt=bindparam("prompt"), folded=bindparam("folded")
)
SET_MADE = (
    update(tables.summaries)
    .where(_s.seq == bindparam("of_seq"))
    .values({name: bindparam(f"new_{name}") for name in _MADE})
)
DELETE_SUMMARY = delete(tables.summaries).where(
    _s.seq == select(_r.seq).where(_r.id == bindparam("request_id")).scalar_subquery()
)

SUMMARY_STATEMENTS: tuple[Executable, ...] = (INSERT_SUMMARY, SET_MADE, DELETE_SUMMARY)
"""Every statement above, for drivers that compile them once."""


def summary(seq: int, prompt: str | None) -> dict[str, Any]:
    """The parameters of ``INSERT_SUMMARY``."""
    shown = None if prompt is None else prompt[:MAX_PROMPT]
    return {"seq": seq, "prompt": shown, "folded": None if shown is None else shown.casefold()}


def made(made: Made) -> dict[str, Any]:
    """The parameters of ``SET_MADE``, but for the request."""
    return {f"new_{name}": value for name, value in to_json(made).items()}
