"""Which of its limits a run has passed."""

from __future__ import annotations

from windlass.models.launch import LaunchPolicy
from windlass.models.reason import Reason
from windlass.models.run import ResourceUsage, Run
from windlass.runners import RunnerState, RunStatus

__all__ = ["RAISE", "IdleWatch", "before_start", "passed_deadline", "while_running"]

RAISE = "Raise the limit in the queue's policy if that was right."


def before_start(policy: LaunchPolicy, run: Run, now: float) -> Reason | None:
    """The limit passed by a run that is not started yet.

    Args:
        policy: The effective policy.
        run: The run as it was claimed.
        now: The store's clock.
    """
    queued = run.queued_at or run.created_at
    # Only the first claim ends the time in the queue: a successor looks at a run that was taken in time.
    if run.fence <= 1 and policy.queue_timeout is not None and now - queued > policy.queue_timeout:
        return _passed("queue-timeout", f"it waited in the queue for more than {policy.queue_timeout:g} s")
    return passed_deadline(policy, run, now)


def while_running(policy: LaunchPolicy, run: Run, status: RunStatus, submitted_at: float, now: float) -> Reason | None:
    """The limit passed by a run that was submitted.

    Args:
        policy: The effective policy.
        run: The run as it was last seen: when it began, by the store's clock. The runner's own may be off by hours.
        status: What its runner says.
        submitted_at: When it was given to the runner.
        now: The same clock's present time.
    """
    if status.state is RunnerState.STARTING:
        if policy.start_timeout is not None and now - submitted_at > policy.start_timeout:
            what = f"; it waits for: {status.reason.message}" if status.reason and status.reason.message else ""
            return _passed("start-timeout", f"it did not start within {policy.start_timeout:g} s{what}")
    elif policy.attempt_timeout is not None and now - (run.started_at or submitted_at) > policy.attempt_timeout:
        return _passed("attempt-timeout", f"it ran longer than {policy.attempt_timeout:g} s")
    return passed_deadline(policy, run, now)


def passed_deadline(policy: LaunchPolicy, run: Run, now: float) -> Reason | None:
    """The deadline, if it has passed."""
    began = run.created_at or run.queued_at
    if policy.deadline is not None and began and now - began > policy.deadline:
        return _passed("deadline", f"it was not over within {policy.deadline:g} s of its submission")
    return None


class IdleWatch:
    """Notices that a run uses next to no processor, and none of its GPUs, for a long time."""

    def __init__(self, policy: LaunchPolicy) -> None:
        self._timeout = policy.idle_timeout
        self._share = policy.idle_cpu or 0.0
        self._since = 0.0
        self._busy = 0.0

    def look(self, usage: ResourceUsage | None, now: float) -> Reason | None:
        """Take a sample; the reason to stop once the run has been idle for too long."""
        if self._timeout is None or usage is None or usage.cpu_seconds is None:
            return None
        busy = usage.cpu_seconds + (usage.gpu_seconds or 0.0)
        if not self._since or busy - self._busy > self._share * (now - self._since):
            self._since, self._busy = now, busy
            return None
        if now - self._since < self._timeout:
            return None
        return _passed("idle", f"it used less than {self._share:g} of a core for {self._timeout:g} s")


def _passed(code: str, message: str) -> Reason:
    return Reason(code=code, message=message, hint=RAISE)
