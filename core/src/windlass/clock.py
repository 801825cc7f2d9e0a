"""The clock by which claims are judged on one machine, and the month that a cost belongs to."""

from __future__ import annotations

import datetime as dt
import time
from functools import lru_cache

__all__ = ["lease_clock", "month_of"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds that count on while the machine sleeps or the process is stopped, unlike a wall clock that somebody sets.

    All processes of one machine see the same; where there is no such clock (not Linux), the monotonic one.
    """
    return time.clock_gettime(_CLOCK)


def month_of(time: float) -> str:
    """The calendar month in UTC: ``2026-01``."""
    return _month_of_hour(int(time // 3600))


@lru_cache(maxsize=16)
def _month_of_hour(hour: int) -> str:
    return dt.datetime.fromtimestamp(hour * 3600, dt.UTC).strftime("%Y-%m")
