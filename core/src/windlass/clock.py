"""The clock by which claims are judged on one machine, and the month that a cost belongs to."""

from __future__ import annotations

import datetime as dt
import time
from functools import lru_cache

__all__ = ["lease_clock", "month_of", "months", "start_of_month"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds that count on while the machine sleeps or the process is stopped, unlike a wall clock that somebody sets.

    All processes of one machine see the same; where there is no such clock (not Linux), the monotonic one.
    """
    return time.clock_gettime(_CLOCK)


def month_of(time: float) -> str:
    """The calendar month in UTC: ``2026-01``."""
    return _month_of_hour(int(time // 3600))


def start_of_month(time: float) -> float:
    """When the calendar month of a time began in UTC."""
    return _start_of(month_of(time))


def months(begin: float, end: float) -> dict[str, float]:
    """Seconds of a time by the calendar months that it lies in, oldest first; of the last at least 0."""
    found: list[tuple[str, float]] = []
    month, start = month_of(end), start_of_month(end)
    while start > begin:
        found.append((month, end - start))
        end, month, start = start, month_of(start - 1.0), start_of_month(start - 1.0)
    return dict(reversed([*found, (month, max(end - begin, 0.0))]))


@lru_cache(maxsize=16)
def _month_of_hour(hour: int) -> str:
    return dt.datetime.fromtimestamp(hour * 3600, dt.UTC).strftime("%Y-%m")


@lru_cache(maxsize=16)
def _start_of(month: str) -> float:
    return dt.datetime.strptime(month, "%Y-%m").replace(tzinfo=dt.UTC).timestamp()
