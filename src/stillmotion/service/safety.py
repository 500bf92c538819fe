"""Which requests are checked, what becomes of a refused prompt, and what is told about a result."""

from dataclasses import dataclass, replace
from typing import Any

import structlog

from stillmotion.errors import ContentPolicyViolation, EngineError
from stillmotion.job import Done, Job
from stillmotion.safety.configuration import Mode
from stillmotion.safety.prompts import PromptPatterns
from stillmotion.store.records import Safety

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyPolicy:
    """What the operator asks for. The caller's ``enable_safety_checker`` decides, unless it is ``required``."""

    mode: Mode = "auto"
    prompts: PromptPatterns | None = None

    def applies(self, request: Any) -> bool:
        """Whether ``request`` is checked; an endpoint whose document has no switch is always."""
        return self.mode == "required" or bool(getattr(request, "enable_safety_checker", True))

    def admit(self, request: Any, *, id: str) -> None:
        """Raises ContentPolicyViolation at ``prompt``; to be asked before anything is fetched or computed."""
        if self.applies(request):
            prompt = getattr(request, "prompt", "")
            self._refuse(prompt, prompt, id)

    def admit_prompt(self, job: Job, *, given: str, id: str) -> None:
        """A prompt that was rewritten since ``admit`` saw it as ``given``; raises as that does."""
        if job.check_safety:
            self._refuse(job.prompt, given, id)

    def demanded(self, job: Job, request: Any) -> Job:
        """``job``, told whether it is to be checked."""
        return replace(job, check_safety=self.applies(request))

    def outcome(self, job: Job, done: Done, *, id: str) -> Safety | None:
        """What is told about a result, before it is delivered; None when it was not to be checked.

        Raises ContentPolicyViolation for a prompt that was refused only once it was rewritten, and EngineError for a
        result that must not go out unchecked.
        """
        if not job.check_safety:
            return None
        if done.prompt is not None:
            self._refuse(done.prompt, job.prompt, id)
        if self.mode == "required" and not done.checked:
            raise EngineError("The result was not checked for safety, which this server requires.")
        return "checked" if done.checked else "unchecked"

    def _refuse(self, text: str, given: str, id: str) -> None:
        if self.prompts is not None and (verdict := self.prompts.prompt(text)).flagged:
            log.info("prompt refused", request=id, term=verdict.label)
            raise ContentPolicyViolation().at("prompt", input=given)
