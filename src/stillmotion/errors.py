"""Every error that crosses a module border.

    StillmotionError
    ├── InputError                what the caller sent; names a field, never tried again
    │   ├── ContentPolicyViolation
    │   ├── FileDownloadError
    │   ├── FileTooLargeError
    │   ├── ImageLoadError
    │   ├── ImageTooLargeError
    │   ├── ImageTooSmallError
    │   ├── LoraLoadError
    │   ├── UnsupportedImageError
    │   └── ValidationError       many fields at once
    ├── MalformedBody             the request body is not JSON we accept
    ├── BadRequest                a parameter or header outside the body
    ├── Unauthorized              no key, or one that does not work
    ├── Forbidden                 a key that may not do that
    ├── NotFound                  no such endpoint, request or file (or not yours)
    ├── NotCompleted              the result was asked for too early
    ├── AlreadyCompleted          too late to cancel
    ├── IdempotencyKeyReused      the key stands for another request; nothing was stored
    ├── QueueFull                 more wait than the caller would wait behind; nothing was stored
    ├── Unavailable               nothing was stored, ask again later
    ├── EngineError               the job failed in the engine and would fail again
    │   ├── OutOfMemory
    │   ├── UnfitLora             a file that is no LoRA for the model; told to the user as an InputError
    │   └── BundleError           a model bundle is missing, incomplete or does not fit
    ├── EngineLost                the engine's process died; costs one attempt
    ├── GenerationTimeout         the engine had its time and was not done
    └── ConfigurationError        settings that contradict each other

``kind`` is stable: it is stored, logged and mapped to the wire. None of these knows HTTP. The class docstring is the
message when none is given.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


class StillmotionError(Exception):
    """Something went wrong."""

    kind: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One thing that is wrong with one field of the input; the shape that clients read."""

    loc: tuple[str | int, ...]
    msg: str
    type: str
    ctx: Mapping[str, Any] | None = None
    input: Any = None


class InputError(StillmotionError):
    """The input cannot be used."""

    kind = "invalid_input"
    type: ClassVar[str] = "value_error"

    def __init__(self, message: str | None = None, **ctx: Any) -> None:
        super().__init__(message)
        self.ctx = ctx or None
        self.loc: tuple[str | int, ...] = ("body",)
        self.input: Any = None

    def at(self, *loc: str | int, input: Any = None) -> "InputError":
        """The same error, told where in the input it lies by the layer that knows."""
        self.loc, self.input = ("body", *loc), input
        return self

    @property
    def details(self) -> tuple[Detail, ...]:
        return (Detail(loc=self.loc, msg=self.message, type=self.type, ctx=self.ctx, input=self.input),)


class ContentPolicyViolation(InputError):
    """The content could not be processed because it was flagged by a content checker."""

    kind = type = "content_policy_violation"


class FileDownloadError(InputError):
    """The file could not be downloaded."""

    type = "file_download_error"


class FileTooLargeError(InputError):
    """The file is too large."""

    type = "file_too_large"


class ImageLoadError(InputError):
    """The file could not be read as an image."""

    type = "image_load_error"


class ImageTooLargeError(InputError):
    """The image has too many pixels."""

    type = "image_too_large"


class ImageTooSmallError(InputError):
    """The image has too few pixels."""

    type = "image_too_small"


class LoraLoadError(InputError):
    """The file could not be read as LoRA weights."""

    # The wire has no word of its own for it.
    type = "file_download_error"


class UnsupportedImageError(InputError):
    """The image format is not supported."""

    type = "unsupported_image_format"


class ValidationError(InputError):
    """The input does not fit the schema."""

    def __init__(self, details: tuple[Detail, ...]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, d.loc))}: {d.msg}" for d in details))
        self._details = details

    @property
    def details(self) -> tuple[Detail, ...]:
        return self._details


class MalformedBody(StillmotionError):
    """The request body is not valid JSON."""

    kind = "json_invalid"


class BadRequest(StillmotionError):
    """The request cannot be understood."""

    kind = "bad_request"


class NotFound(StillmotionError):
    """Not found."""

    kind = "not_found"


class Unauthorized(StillmotionError):
    """Authorization header is required"""

    kind = "unauthorized"


class Forbidden(StillmotionError):
    """This key may not do that; it takes an admin key."""

    kind = "forbidden"


class NotCompleted(StillmotionError):
    """Request is still in progress"""

    kind = "not_completed"


class AlreadyCompleted(StillmotionError):
    """The request is already completed."""

    kind = "already_completed"


class IdempotencyKeyReused(StillmotionError):
    """This Idempotency-Key was used for another request: another endpoint, input or webhook."""

    kind = "idempotency_key_reused"


class QueueFull(StillmotionError):
    """The queue of this endpoint is longer than fal_max_queue_length."""

    kind = "queue_full"


class Unavailable(StillmotionError):
    """The server cannot accept requests right now."""

    kind = "unavailable"


class EngineError(StillmotionError):
    """The engine could not make the video."""

    kind = "engine_error"


class OutOfMemory(EngineError):
    """The engine ran out of memory."""

    kind = "out_of_memory"


class UnfitLora(EngineError):
    """The file is no LoRA for this model."""

    def __init__(self, message: str, file: Path) -> None:
        super().__init__(message)
        self.file = file


class BundleError(EngineError):
    """The model bundle cannot be used."""

    kind = "bundle_error"


class EngineLost(StillmotionError):
    """The engine process ended unexpectedly."""

    kind = "engine_lost"


class GenerationTimeout(StillmotionError):
    """The generation took too long."""

    kind = "generation_timeout"


class ConfigurationError(StillmotionError):
    """The configuration cannot be used."""

    kind = "configuration_error"
