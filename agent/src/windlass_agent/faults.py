"""The places where tests may kill, pause or break an agent. In production they do nothing.

One list of all steps at which the death of an agent must do no harm; `Agent` takes a `Faults` in tests only.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Faults", "Point"]


class Point(StrEnum):
    """Steps in the life of a run, in order."""

    CLAIMED = "claimed"
    BUILDING = "building"
    STARTING = "starting"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    WATCHING = "watching"
    LOG_READ = "log-read"
    LOG_STORED = "log-stored"
    ENDED = "ended"
    REPORTING = "reporting"
    REPORTED = "reported"
    CLEANED = "cleaned"


class Faults:
    """Does nothing. Tests give the agent a subclass."""

    def hit(self, point: Point, run_id: str) -> None:
        """Called when a run comes to a point."""
