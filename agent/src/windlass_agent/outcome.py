"""What the end of an attempt means for its run."""

from __future__ import annotations

import shutil
from pathlib import Path

from attrs import evolve

from windlass.models.reason import Reason
from windlass.models.run import RunState
from windlass.runners import RunnerState, RunStatus

__all__ = ["GONE", "LEAST_SPACE", "STOPPED_BY_USER", "host_lost", "is_full", "of"]

LEAST_SPACE = 1 << 20
"""Bytes below which a disk is full: nothing can be started there, so items stay in their queue rather than fail."""

STOPPED_BY_USER = Reason(code="stopped-by-user", message="somebody asked it to stop")
GONE = Reason(
    code="lost",
    message="it was started, and its runner does not know it any more",
    hint="Somebody removed it, or the machine was restarted.",
)

_STATES = {
    RunnerState.FINISHED: RunState.FINISHED,
    RunnerState.FAILED: RunState.FAILED,
    RunnerState.STOPPED: RunState.KILLED,
    RunnerState.PREEMPTED: RunState.CRASHED,
    RunnerState.LOST: RunState.CRASHED,
}
_SENTENCES = {
    RunnerState.FINISHED: ("finished", "it ended with exit code 0"),
    RunnerState.FAILED: ("failed", "it failed"),
    RunnerState.STOPPED: ("stopped", "it was stopped from outside"),
    RunnerState.PREEMPTED: ("preempted", "its machine was taken away"),
    RunnerState.LOST: ("lost", "its runner does not know it any more"),
}


def host_lost(host: str) -> Reason:
    """The reason when the machine that held an attempt stopped renewing it."""
    return Reason(
        code="agent-lost",
        message=f"it ran on {host}, where no agent has answered for a long time",
        hint=f"Start an agent on {host} to find out what became of it.",
        context={"host": host},
    )


def of(status: RunStatus, asked: Reason | None, folder: Path | None = None) -> tuple[RunState, Reason]:
    """State and reason of a run after its last attempt.

    Args:
        status: How the attempt ended.
        asked: Why this agent stopped it, if it did.
        folder: Where it worked, if that is known and on this machine.
    """
    code, message = _SENTENCES[status.state]
    reason = status.reason or Reason(code=code, message=message)
    if status.state is RunnerState.STOPPED and asked is not None:
        # A limit that was passed is the run's failure; a person who stops it is not.
        return (RunState.KILLED if asked == STOPPED_BY_USER else RunState.FAILED), asked
    return _STATES[status.state], _with_disk(reason, folder)


def is_full(folder: Path) -> bool:
    """Whether nothing can be written there any more; False also when nobody can tell."""
    try:
        return shutil.disk_usage(folder).free < LEAST_SPACE
    except OSError:
        return False


def _with_disk(reason: Reason, folder: Path | None) -> Reason:
    """A program whose last words found no room on the disk leaves nothing but an exit code."""
    if folder is None or reason.code not in ("exit-code", "signal") or not is_full(folder):
        return reason
    return evolve(
        reason,
        message=f"{reason.message}, and the disk of {folder} was full at its end",
        hint="Free some space there: it may have failed by that, and the end of its output may be missing.",
    )
