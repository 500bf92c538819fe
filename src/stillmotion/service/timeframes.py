"""Spans of time and the buckets of a time series, in the calendar of a time zone."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, get_args

Timeframe = Literal["minute", "hour", "day", "week", "month"]
TIMEFRAMES: tuple[Timeframe, ...] = get_args(Timeframe)

# As fal chooses: the first timeframe whose span is longer than the one that was asked for.
_SPANS: tuple[tuple[timedelta, Timeframe], ...] = (
    (timedelta(hours=2), "minute"),
    (timedelta(days=2), "hour"),
    (timedelta(days=64), "day"),
    (timedelta(days=183), "week"),
)


def fitting(start: datetime, end: datetime) -> Timeframe:
    """The timeframe for a span when none was named."""
    return next((timeframe for span, timeframe in _SPANS if end - start < span), "month")


def slot_seconds(timeframe: Timeframe) -> float:
    """Seconds in which every bucket of ``timeframe`` can be divided: offsets from UTC are whole quarters of hours."""
    return 60.0 if timeframe == "minute" else 900.0


def bucket(at: datetime, timeframe: Timeframe, zone: tzinfo) -> datetime:
    """The beginning of the bucket that ``at`` lies in. A week begins on Monday."""
    local = at.astimezone(zone)
    if timeframe == "minute":
        return local.replace(second=0, microsecond=0)
    hour = local.replace(minute=0, second=0, microsecond=0)
    if timeframe == "hour":
        return hour
    # Where midnight comes twice, the day begins with the first.
    day = hour.replace(hour=0, fold=0)
    if timeframe == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if timeframe == "month" else day


def bucket_end(at: datetime, timeframe: Timeframe, zone: tzinfo) -> datetime:
    """The end of the bucket that ``at`` lies in, or ``at`` itself when it is where one begins."""
    begin = bucket(at, timeframe, zone)
    if begin == at:
        return begin
    if timeframe in ("minute", "hour"):
        # In UTC: an hour of wall time is none when the clock is put forward in it.
        step = timedelta(minutes=1) if timeframe == "minute" else timedelta(hours=1)
        return (begin.astimezone(UTC) + step).astimezone(zone)
    if timeframe == "month":
        return (begin + timedelta(days=32)).replace(day=1)
    return begin + timedelta(days=7 if timeframe == "week" else 1)
