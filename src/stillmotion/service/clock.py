"""The time of day, as it is stored with a request."""

import time


def wall_clock() -> float:
    """Unix seconds, in whole microseconds: a time that a listing prints is the very one that is stored."""
    return round(time.time(), 6)
