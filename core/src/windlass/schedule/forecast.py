"""When a waiting run will start, judged by how long runs like it took."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from statistics import median

__all__ = ["MOST_AHEAD", "starts_in", "typical"]

MOST_AHEAD = 10_000
"""With more items ahead nobody needs the answer to the second."""


def typical(seconds: Sequence[float]) -> float | None:
    """The median of run times; None without any."""
    return median(seconds) if seconds else None


def starts_in(*, ahead: int, running: Sequence[float], slots: int | None, takes: float | None) -> float | None:
    """Seconds until an item starts.

    Args:
        ahead: Items that leave before it.
        running: For each run at work, the seconds since it was claimed.
        slots: Runs that may be at work at the same time; None: any number.
        takes: How long one run takes, as far as known.

    Returns:
        None when it can't be told.
    """
    if slots is None or len(running) + ahead < slots:
        return 0.0
    if takes is None or slots <= 0 or ahead > MOST_AHEAD:
        return None
    free = sorted(max(takes - passed, 0.0) for passed in running)
    # More may run than the slots allow (a limit was lowered): the first ends free nothing.
    free = free[max(len(free) - slots, 0) :] + [0.0] * max(slots - len(free), 0)
    heapq.heapify(free)
    for _ in range(ahead):
        heapq.heappush(free, heapq.heappop(free) + takes)
    return free[0]
