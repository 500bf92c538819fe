"""Rules that make requests fail or wait as fal's do, so that a program's handling of errors can be tested.

A rule is met by an attempt before anything of its request is fetched or computed, whatever the engine; what it raises
is what would be raised there for a real cause, so a client sees no difference.
"""

import asyncio
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stillmotion.errors import (
    ConfigurationError,
    ContentPolicyViolation,
    Detail,
    EngineError,
    EngineLost,
    FileDownloadError,
    FileTooLargeError,
    GenerationTimeout,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    InputError,
    StillmotionError,
    UnsupportedImageError,
    ValidationError,
)

ENDPOINT = "endpoint"
"""In ``match`` the endpoint's id; every other name is a field of the input."""
_ERRORS: dict[str, type[InputError]] = {
    error.type: error
    for error in (
        FileDownloadError,
        FileTooLargeError,
        ImageLoadError,
        ImageTooLargeError,
        ImageTooSmallError,
        UnsupportedImageError,
    )
}
_OPTIONS = {422: {"field", "type", "message"}, "content_policy": {"field", "message"}, "delay": {"seconds"}}
"""What each action takes beside ``match`` and ``times``; the others may have a ``message``."""

Action = Literal[422, 500, 504, "content_policy", "delay", "crash"]
Tell = Callable[..., None]


class Rule(BaseModel):
    """What happens to requests that match. A rule without ``match`` is for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: Mapping[str, str] = {}
    """``endpoint``: a glob of endpoint ids. Any other name is a field of the input, with a regular expression that is
    searched in its text; a field that is no string is searched as JSON."""
    action: Action
    """``delay`` waits, and the next rules are asked then; ``crash`` loses the attempt; the others answer."""
    times: int | None = Field(None, ge=1)
    """How often it is applied; None: always."""
    name: str | None = None
    """For the request's log; two equal rules of different names are counted apart."""
    field: str | None = None
    """The field at fault, dotted below the first level: ``loras.0.path``. Default: ``prompt``."""
    type: str | None = Field(None, pattern=r"^[a-z_]+(\.[a-z_]+)*$")
    """The error's type on the wire, ``value_error`` if it is not told."""
    message: str | None = None
    seconds: float | None = Field(None, gt=0)

    @field_validator("match")
    @classmethod
    def _patterns(cls, match: Mapping[str, str]) -> Mapping[str, str]:
        for name, pattern in match.items():
            try:
                re.compile(pattern if name != ENDPOINT else "")
            except re.error as error:
                raise ValueError(f"{name}: {pattern!r} is no regular expression: {error}") from None
        return match

    @model_validator(mode="after")
    def _options(self) -> Self:
        allowed = _OPTIONS.get(self.action, {"message"})
        given = {name for name in ("field", "type", "message", "seconds") if getattr(self, name) is not None}
        if unfit := sorted(given - allowed):
            raise ValueError(f"{', '.join(unfit)} does not go with the action {self.action}")
        if self.action == "delay" and self.seconds is None:
            raise ValueError("delay needs seconds")
        return self

    def fits(self, endpoint: str, body: Mapping[str, Any]) -> bool:
        return all(
            fnmatchcase(endpoint, pattern)
            if name == ENDPOINT
            else name in body and re.search(pattern, _text(body[name])) is not None
            for name, pattern in self.match.items()
        )

    def error(self, body: Mapping[str, Any]) -> StillmotionError:
        """What the action is raised as; there is none for ``delay``."""
        match self.action:
            case 422:
                return _input_error(self.type or InputError.type, self.message, self.field or "prompt", body)
            case "content_policy":
                field = self.field or "prompt"
                return ContentPolicyViolation(self.message).at(field, input=body.get(field))
            case 504:
                return GenerationTimeout(self.message)
            case "crash":
                return EngineLost(self.message)
        return EngineError(self.message)


def parse_rules(tables: Iterable[Any]) -> tuple[Rule, ...]:
    """Rules of decoded TOML or JSON. Raises ConfigurationError that names the rule by its number, from 1."""
    return tuple(_parse(number, table) for number, table in enumerate(tables, 1))


class Rules:
    """The rules of a server, with how often each was applied.

    ``file``: TOML or JSON with more of them, read again for every attempt, so that a running server can be given
    others. A rule that is still in it keeps its count. Raises ConfigurationError, ``meet`` too once the file has become
    unfit.
    """

    def __init__(self, rules: Iterable[Rule] = (), file: Path | None = None) -> None:
        self._configured = tuple(rules)
        self._counted = [_Counted(rule) for rule in self._configured]
        self._file = file
        self._text = ""
        if file is not None:
            self._renew(_read(file))

    def __bool__(self) -> bool:
        return self._file is not None or bool(self._counted)

    async def meet(self, endpoint: str, body: Mapping[str, Any], tell: Tell) -> None:
        """Waits, or raises an InputError, EngineError, GenerationTimeout or EngineLost, as the rules say.

        ``tell(message, level)`` takes a line for the request's log.
        """
        if self._file is not None:
            self._renew(await asyncio.to_thread(_read, self._file))
        for counted in self._counted:
            rule = counted.rule
            if counted.spent or not rule.fits(endpoint, body):
                continue
            counted.applied += 1
            tell(f"rule {rule.name or self._counted.index(counted) + 1}: {rule.action}", "WARN")
            if rule.seconds is None:
                raise rule.error(body)
            await asyncio.sleep(rule.seconds)

    def _renew(self, text: str) -> None:
        if text == self._text:
            return
        assert self._file is not None
        try:
            found = json.loads(text) if self._file.suffix == ".json" else tomllib.loads(text)
            rules = parse_rules(found.get("rules", ()))
        except (ValueError, ConfigurationError) as error:  # both decoders' errors are ValueErrors
            raise ConfigurationError(f"{self._file}: {error}") from None
        before, self._counted = self._counted, []
        for rule in (*self._configured, *rules):
            kept = next((each for each in before if each.rule == rule), None)
            if kept is not None:
                before.remove(kept)
            self._counted.append(kept or _Counted(rule))
        self._text = text


@dataclass(slots=True, eq=False)
class _Counted:
    rule: Rule
    applied: int = 0

    @property
    def spent(self) -> bool:
        return self.rule.times is not None and self.applied >= self.rule.times


def _parse(number: int, table: Any) -> Rule:
    try:
        return Rule.model_validate(table)
    except pydantic.ValidationError as error:
        raise ConfigurationError(f"rule {number}: {'; '.join(map(_fault, error.errors()))}") from None


def _fault(found: Any) -> str:
    place = ".".join(map(str, found["loc"]))
    message = found["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file of rules {file} cannot be read: {error}") from None


def _input_error(type: str, message: str | None, field: str, body: Mapping[str, Any]) -> InputError:
    loc = tuple(int(part) if part.isdecimal() else part for part in field.split("."))
    found: Any = body
    for part in loc:
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            found = None
    if type in _ERRORS:
        return _ERRORS[type](message).at(*loc, input=found)
    text = message or "The value was refused by a rule of this server"
    return ValidationError((Detail(loc=("body", *loc), msg=text, type=type, input=found),))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
