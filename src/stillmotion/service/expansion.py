"""Who rewrites a request's prompt: a server beside this one, the engine, or nobody."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from stillmotion.executor.expansion import Expansion, Shown, shown_picture, unchanged
from stillmotion.job import Job


class PromptWriter(Protocol):
    """``prompt_server.PromptServer`` is one."""

    async def expand(self, prompt: str, *, seed: int, picture: Path | None = None, shown: Shown = "first") -> Expansion:
        """The expansion of ``prompt``, or the prompt itself with the reason; raises nothing but cancellation.

        ``picture``: an upright image file that is the ``shown`` frame of the video.
        """
        ...


Prompts = PromptWriter | Literal["auto", "off"]
"""``auto``: the engine's own text model, where it can."""


async def expand_for(job: Job, pictures: Mapping[str, str], by: Prompts) -> tuple[Job, Expansion | None]:
    """``job`` as the engine should see it, and what became of its prompt where that is settled here.

    ``pictures``: request field to the path of its upright picture, as in ``Work``.
    """
    if not job.expand_prompt or by == "auto":
        return job, None
    if by == "off":
        expansion = unchanged(job.prompt, "prompt expansion is off on this server")
    else:
        field, shown = shown_picture(job) or (None, "first")
        picture = Path(pictures[field]) if field else None
        expansion = await by.expand(job.prompt, seed=job.seed, picture=picture, shown=shown)
    return replace(job, prompt=expansion.text, expand_prompt=False), expansion
