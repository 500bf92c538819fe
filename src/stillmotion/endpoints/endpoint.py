"""An endpoint is a value: its schemas, and the pure functions from a request to a job and from a job to an output."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import pydantic
from pydantic import BaseModel

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.prices import TABLE, Price, Pricing
from stillmotion.errors import Detail, ValidationError
from stillmotion.job import Encoding, Family, Job, Media, Model


class Plan(NamedTuple):
    """What a request comes to: the job, how it is encoded, and what the user should read about it in the log."""

    job: Job
    encoding: Encoding
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One of fal's model endpoints.

    ``plan(request, sizes, seed, model)`` is pure: ``sizes`` maps each of ``image_fields`` that was given to the width
    and height of its upright picture.
    """

    id: str
    title: str
    summary: str
    model_family: Family
    """The open weights that the endpoint is meant for; another family's bundle is not refused."""
    input: type[BaseModel]
    output: type[BaseModel]
    image_fields: tuple[str, ...]
    """Fields that hold the URL of a picture, in the order in which they are fetched."""
    check: Callable[[Any, Bounds], list[Detail]]
    """The bounds that the document leaves open, on a request that fits the schema."""
    plan: Callable[[Any, Mapping[str, tuple[int, int]], int, Model], Plan]
    respond: Callable[[Job, Media, str], dict[str, Any]]
    """The output object for a job, the file that was made and its URL."""
    loras: Callable[[Any, Model], Mapping[str, str]] = lambda _request, _model: {}
    """Name to path of the LoRA files that a request needs beside the bundle's own: to be fetched before the work.

    The names are those of the ``Lora`` entries of the plan's stages that are not bundled; loras.py has the paths'
    grammar.
    """
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Undocumented names that the input accepts, each with the documented name, which wins when both are given."""

    @property
    def app(self) -> str:
        """``owner/alias``, the part of the id under which fal keeps a request."""
        return "/".join(self.id.split("/")[:2])

    @property
    def pricing(self) -> Pricing | None:
        """The endpoint's row of the price table; None: not priced."""
        return TABLE.get(self.id)

    def price(self, request: Any, job: Job) -> Price | None:
        """What ``job``'s delivery costs: its pixels, frames and rate, whatever was computed for it."""
        return self.pricing.price(getattr(request, "resolution", None), job) if self.pricing else None

    def parse(self, raw: Mapping[str, Any], bounds: Bounds) -> Any:
        """The request for a decoded JSON body. Raises ValidationError that names every field that does not fit.

        A field that came under another name is told under the name that the caller used.
        """
        renamed = self._renamed(raw)
        body = {renamed.get(name, name): value for name, value in raw.items()}
        try:
            request = self.input.model_validate(body)
        except pydantic.ValidationError as error:
            details = list(_details(error.errors(include_url=False)))
        else:
            details = self.check(request, bounds)
        if not details:
            return request
        sent = {documented: name for name, documented in renamed.items()}
        raise ValidationError(tuple(_as_sent(detail, sent) for detail in details))

    def unknown(self, raw: Mapping[str, Any]) -> tuple[str, ...]:
        """Names in the body that are not used; they are ignored, as fal ignores them."""
        return tuple(name for name in raw if name not in self.input.model_fields and name not in self._renamed(raw))

    def _renamed(self, raw: Mapping[str, Any]) -> dict[str, str]:
        """The aliases in the body that stand for a documented name which is not in it."""
        return {name: known for name, known in self.aliases.items() if name in raw and known not in raw}

    def images(self, request: Any) -> dict[str, str]:
        """Field name to URL of the pictures that a request names."""
        urls = {name: getattr(request, name, None) for name in self.image_fields}
        return {name: url for name, url in urls.items() if url is not None}


def video_output(job: Job, media: Media, url: str) -> dict[str, Any]:
    """The output object of the endpoints that return a video alone; it says what is in the file."""
    return {"video": _video(media, url)}


def seeded_output(job: Job, media: Media, url: str) -> dict[str, Any]:
    """The output object of the endpoints that report seed and prompt too."""
    return {"video": _video(media, url), "seed": job.seed, "prompt": job.prompt}


def _video(media: Media, url: str) -> dict[str, Any]:
    return {
        "url": url,
        "content_type": media.content_type,
        "file_name": url.rsplit("/", 1)[-1],
        "file_size": media.size,
        "width": media.width,
        "height": media.height,
        "fps": media.fps,
        "duration": media.duration,
        "num_frames": media.num_frames,
    }


# Pydantic's names on the left, the names that fal documents for the same fault on the right.
_FAL_TYPES = {
    "literal_error": "one_of",
    "string_too_long": "sequence_too_long",
    "string_too_short": "sequence_too_short",
    "too_long": "sequence_too_long",
    "too_short": "sequence_too_short",
}


def _as_sent(detail: Detail, sent: Mapping[str, str]) -> Detail:
    body, *path = detail.loc
    return replace(detail, loc=(body, *(sent.get(str(name), name) for name in path[:1]), *path[1:]))


def _details(errors: Sequence[Any]) -> Iterator[Detail]:
    """Our details for pydantic's errors.

    A field that takes a name or an object is a union, for which pydantic reports every branch and puts the branch's
    label into ``loc``. Only the branch that the caller meant is told, without the label.
    """
    objects = {error["loc"][0] for error in errors if _branch(error) == "name" and isinstance(error["input"], Mapping)}
    for error in errors:
        branch = _branch(error)
        if branch is None:
            yield _detail(error, error["loc"])
        elif (branch == "object") == (error["loc"][0] in objects):
            yield _detail(error, (error["loc"][0], *error["loc"][2:]))


def _branch(error: Any) -> Literal["name", "object"] | None:
    if len(error["loc"]) < 2 or isinstance(error["loc"][1], int):
        return None
    return "name" if error["loc"][1].startswith("literal[") else "object"


def _detail(error: Any, loc: tuple[str | int, ...]) -> Detail:
    kind = _FAL_TYPES.get(error["type"], error["type"])
    ctx = dict(error.get("ctx") or {})
    if kind == "one_of":
        # Pydantic gives one string, "'a', 'b' or 'c'" or "6, 8 or 10"; the documented context is a list.
        ctx = {"expected": [ast.literal_eval(part) for part in re.split(", | or ", ctx["expected"])]}
    return Detail(loc=("body", *loc), msg=error["msg"], type=kind, ctx=ctx or None, input=error.get("input"))
