"""The clock by which claims are judged on one machine."""

from __future__ import annotations

import time

__all__ = ["lease_clock"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds that count on while the machine sleeps or the process is stopped, unlike a wall clock that somebody sets.

    All processes of one machine see the same; where there is no such clock (not Linux), the monotonic one.
    """
    return time.clock_gettime(_CLOCK)
