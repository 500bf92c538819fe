"""Who may read a file besides its owner: a decision for everybody, and others for some."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from stillmotion.errors import BadRequest

Decision = Literal["allow", "forbid", "hide"]
"""Read; told that one may not; told that there is nothing."""
DECISIONS: tuple[Decision, ...] = get_args(Decision)
"""The most generous first."""
MAX_RULES, MAX_USER = 100, 64
FORM = '{"default": "allow" | "forbid" | "hide", "rules": [{"user": NAME, "decision": ...}, ...]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Acl:
    default: Decision | None = None
    """None: as the server is set."""
    rules: Mapping[str, Decision] = field(default_factory=dict)
    """By tenant."""

    @classmethod
    def read(cls, value: Any) -> "Acl":
        """From JSON in fal's form. Raises BadRequest: what was to be private must not become public by a typing
        error."""
        if not isinstance(value, dict):
            raise BadRequest(f"An ACL must be {FORM}.")
        default, rules = value.get("default"), value.get("rules")
        if default is not None and default not in DECISIONS:
            raise BadRequest(f"The default of an ACL must be one of {', '.join(DECISIONS)}.")
        if rules is not None and not (isinstance(rules, list) and len(rules) <= MAX_RULES):
            raise BadRequest(f"The rules of an ACL must be a list of at most {MAX_RULES}.")
        return cls(default=default, rules=dict(_rule(rule) for rule in rules or ()))

    @classmethod
    def stored(cls, text: str | None) -> "Acl":
        """From ``text()``; None is an ACL that says nothing."""
        return cls() if text is None else cls(**orjson.loads(text))

    def text(self) -> str:
        return orjson.dumps({"default": self.default, "rules": dict(self.rules)}).decode()


def _rule(value: Any) -> tuple[str, Decision]:
    user = value.get("user") if isinstance(value, dict) else None
    decision = value.get("decision") if isinstance(value, dict) else None
    if not (isinstance(user, str) and 0 < len(user) <= MAX_USER and decision in DECISIONS):
        raise BadRequest(f"Each rule of an ACL needs a user and a decision: {', '.join(DECISIONS)}.")
    return user, decision
