"""How a container ended, in the words of the runner interface."""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping
from typing import Any

from windlass.models.reason import Reason
from windlass.runners import ResourceUsage, RunnerState, RunStatus

__all__ = ["by_signal", "ended", "killed", "seconds"]

_SIGKILL, _SIGTERM = 137, 143


def by_signal(state: Mapping[str, Any]) -> bool:
    """Whether an ended container was killed as an engine that ends kills its containers."""
    return not state.get("OOMKilled") and int(state["ExitCode"]) in (_SIGKILL, _SIGTERM)


def killed(state: Mapping[str, Any]) -> bool:
    """Whether it was killed, and nothing tells by whom."""
    return by_signal(state) and int(state["ExitCode"]) == _SIGKILL


def ended(state: Mapping[str, Any], *, stopped: bool, shaken: bool, usage: ResourceUsage | None) -> RunStatus:
    """The status of an ended container.

    Args:
        state: ``State`` of the engine's answer.
        stopped: The runner was asked to stop it.
        shaken: It ran when the engine ceased to answer, and had ended when it answered again.
        usage: The last that was seen.
    """
    code = int(state["ExitCode"])
    kind, reason = RunnerState.FAILED, None
    if stopped:
        kind, reason = RunnerState.STOPPED, Reason(code="stopped", message="it was asked to stop")
    elif state.get("OOMKilled") and code:  # also set when only a child was killed, which the code may have got over
        whom = "it" if code == _SIGKILL else "one of its processes"
        reason = Reason(
            code="out-of-memory",
            message=f"the kernel killed {whom} because its memory ran out",
            hint="Raise the queue's memory option.",
            context={"exit_code": code},
        )
    elif code == 0 and not state.get("Error"):
        kind = RunnerState.FINISHED
    elif state.get("Error"):
        reason = Reason(code="not-started", message=str(state["Error"]), context={"exit_code": code})
    elif shaken and by_signal(state):
        reason = Reason(
            code="infrastructure",
            message="the Docker engine was stopped while it ran, which ended it",
            hint="Launch it again, or give the queue's policy retries for infrastructure.",
            context={"exit_code": code},
        )
    else:
        reason = Reason.of_exit(code)
    return RunStatus(
        state=kind,
        exit_code=code,
        reason=reason,
        usage=usage,
        started_at=seconds(state.get("StartedAt")),
        finished_at=seconds(state.get("FinishedAt")),
    )


def seconds(stamp: str | None) -> float:
    """Seconds since the epoch of ``2026-01-31T12:34:56.123456789Z``; 0.0 for the engine's "never"."""
    if not stamp or stamp.startswith("0001-"):
        return 0.0
    fraction = stamp[19:].rstrip("Z")
    return calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) + (
        float(f"0{fraction}") if fraction else 0.0
    )
