"""Where the server's own log goes: one line per event on stderr, JSON unless a person is watching."""

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Sends structlog and the standard library's warnings to stderr, from ``level`` upwards."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if person else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    logging.basicConfig(
        level=max(threshold, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
