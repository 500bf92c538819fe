"""An exception of a job as the event that reports it."""

from stillmotion.errors import EngineError, InputError, StillmotionError
from stillmotion.job import Failed

MAX_MESSAGE = 500
"""Characters of a message of foreign origin: it reaches the user, libraries put whole shapes and paths into theirs."""


def failed(error: BaseException) -> Failed:
    """The event for an exception that is the job's fault: its own ``kind``, or ``engine_error`` for a foreign one."""
    if isinstance(error, StillmotionError):
        return Failed(kind=error.kind, message=error.message, fatal=False, field=_field(error))
    # Of the system's errors only the reason: the rest is a path on this machine.
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = text.strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return Failed(kind=EngineError.kind, message=message[:MAX_MESSAGE], fatal=False)


def _field(error: StillmotionError) -> str | None:
    """The request field, or the LoRA, that an error names: the second part of its place, after ``body``."""
    return str(error.loc[1]) if isinstance(error, InputError) and len(error.loc) > 1 else None
