"""Limits and retries of a run: what is asked for, what the queue allows, and what follows from how an attempt ended."""

from __future__ import annotations

import attrs
from attrs import field, frozen

from windlass.errors import Problem
from windlass.models import LONGEST, MOST
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue
from windlass.models.reason import Reason
from windlass.models.run import Run

__all__ = [
    "CAUSES",
    "DEFAULTS",
    "Retry",
    "cause_of",
    "check_policy",
    "check_wishes",
    "effective_policy",
    "next_retry",
    "retries_used",
    "told_retries",
]

CAUSES = ("infrastructure", "preemption", "out-of-memory", "exit-code")
"""What retries are budgeted by."""

DEFAULTS = LaunchPolicy(
    retries={"infrastructure": 0, "preemption": 5, "out-of-memory": 0, "exit-code": 0},
    retry_delay=5.0,
    retry_max_delay=300.0,
    start_timeout=1800.0,
    stop_grace=10.0,
    idle_cpu=0.01,
)
_NUMBERS = tuple(a.name for a in attrs.fields(LaunchPolicy) if a.name not in ("retries", "retry_exit_codes"))
_CAUSE_OF_CODE = {
    "preempted": "preemption",
    "preemption": "preemption",
    "out-of-memory": "out-of-memory",
    "exit-code": "exit-code",
    "signal": "exit-code",
    "infrastructure": "infrastructure",
    "lost": "infrastructure",
    "agent-lost": "infrastructure",
    "start-timeout": "infrastructure",
    "plugin-crashed": "infrastructure",
    "internal": "infrastructure",
    "store-unavailable": "infrastructure",
}
_WHEN_RETRYABLE = ("build", "registry", "submit", "runner", "storage", "no-space", "access", "store")


def check_policy(policy: LaunchPolicy, where: str = "$.policy") -> list[Problem]:
    """What is wrong with a policy in itself: unknown causes, negative numbers, durations of more than ten years."""
    problems = []
    for cause, count in policy.retries.items():
        place = f"{where}.retries.{cause}"
        if cause not in CAUSES:
            problems.append(Problem(f"unknown cause '{cause}'", where=place, hint=f"one of {', '.join(CAUSES)}"))
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            problems.append(Problem(f"expected a whole number from 0, got {count!r}", where=place))
        elif count > MOST:
            problems.append(Problem(f"{count!r} is too many", where=place, hint=f"at most {MOST}"))
    for name in _NUMBERS:
        value = getattr(policy, name)
        if value is not None and not value >= 0:
            problems.append(Problem(f"must not be negative, got {value!r}", where=f"{where}.{name}"))
        elif value is not None and value > LONGEST:
            hint = f"at most {LONGEST:.0f}" + ("" if name == "idle_cpu" else " seconds, ten years")
            problems.append(Problem(f"{value!r} is too much", where=f"{where}.{name}", hint=hint))
    return problems


def check_wishes(wish: LaunchPolicy, queue: Queue, where: str = "$.policy") -> list[Problem]:
    """What a submitter asks for beyond what the queue's owner allows."""
    problems = check_policy(wish, where)
    wrong = {problem.where for problem in problems}
    most = queue.policy_max

    def refuse(name: str, value: object, limit: object) -> None:
        if f"{where}.{name}" in wrong:
            return
        if limit is None:
            message, hint = f"the queue '{queue.name}' does not let submitters set this", "leave it out"
        else:
            message, hint = f"{value!r} is more than the queue '{queue.name}' allows", f"at most {limit!r}"
        problems.append(Problem(message, where=f"{where}.{name}", hint=hint))

    for name in _NUMBERS:
        value = getattr(wish, name)
        limit = getattr(most, name) if most is not None else None
        if value is not None and value != getattr(queue.policy, name) and (limit is None or value > limit):
            refuse(name, value, limit)
    for cause, count in wish.retries.items():
        allowed = most.retries.get(cause) if most is not None else None
        if count != queue.policy.retries.get(cause) and (allowed is None or count > allowed):
            refuse(f"retries.{cause}", count, allowed)
    codes = set(wish.retry_exit_codes) - set(queue.policy.retry_exit_codes)
    allowed_codes = () if most is None else most.retry_exit_codes
    if codes and not codes <= set(allowed_codes):
        refuse("retry_exit_codes", sorted(codes), list(allowed_codes) or None)
    return problems


def effective_policy(wish: LaunchPolicy, queue: LaunchPolicy) -> LaunchPolicy:
    """The policy that holds: the submitter's value, else the queue's, else the default. None left means unlimited."""
    chosen = {}
    for name in _NUMBERS:
        values = (getattr(wish, name), getattr(queue, name), getattr(DEFAULTS, name))
        chosen[name] = next((value for value in values if value is not None), None)
    return LaunchPolicy(
        retries={**DEFAULTS.retries, **queue.retries, **wish.retries},
        retry_exit_codes=wish.retry_exit_codes or queue.retry_exit_codes,
        **chosen,
    )


def cause_of(reason: Reason, *, retryable: bool = False) -> str:
    """The budget that a retry after this reason counts against; empty if there is none (stops, wrong configs …).

    Args:
        reason: Why the attempt ended.
        retryable: What the error behind it said, for reasons that may or may not pass.
    """
    if retryable and reason.code in _WHEN_RETRYABLE:
        return "infrastructure"
    return _CAUSE_OF_CODE.get(reason.code, "")


@frozen(kw_only=True)
class Retry:
    """The decision to try again.

    Attributes:
        delay: Seconds to wait.
        cause: Budget it counts against.
        reason: To be stored with the released run: it carries the retries used so far under ``context.retries``,
            from where the next decision takes them.
    """

    delay: float
    cause: str
    reason: Reason = field()


def next_retry(policy: LaunchPolicy, run: Run, reason: Reason, *, retryable: bool = False) -> Retry | None:
    """Whether and when an ended attempt is followed by another.

    Args:
        policy: The effective policy.
        run: The run as it was claimed; ``run.reason`` holds the count that the last `Retry` stored.
        reason: Why the attempt ended; an exit code is taken from ``context.exit_code``.
        retryable: See `cause_of`.

    Returns:
        None when the budget of the cause is used up, or the cause is none that is retried.
    """
    cause = cause_of(reason, retryable=retryable)
    if not cause:
        return None
    code = reason.context.get("exit_code")
    if cause == "exit-code" and policy.retry_exit_codes and code not in policy.retry_exit_codes:
        return None
    used = retries_used(run)
    if used.get(cause, 0) >= policy.retries.get(cause, 0):
        return None
    first = policy.retry_delay if policy.retry_delay is not None else 5.0
    most = policy.retry_max_delay if policy.retry_max_delay is not None else 300.0
    delay = min(first * 2.0 ** min(sum(used.values()), 60), most)
    used[cause] = used.get(cause, 0) + 1
    marked = attrs.evolve(reason, context={**reason.context, "retries": used})
    return Retry(delay=delay, cause=cause, reason=marked)


def told_retries(policy: LaunchPolicy, run: Run, reason: Reason) -> Reason:
    """The reason of a run that is not tried again, with the retries it had."""
    used = retries_used(run)
    if not used:
        return reason
    told = ", ".join(f"{count} of {policy.retries.get(cause, 0)} for {cause}" for cause, count in used.items())
    hint = f"{reason.hint} " if reason.hint else ""
    return attrs.evolve(reason, hint=f"{hint}Retries used: {told}.", context={**reason.context, "retries": used})


def retries_used(run: Run) -> dict[str, int]:
    """Retries so far by cause, as the last `Retry` left them in the run's reason."""
    stored = run.reason.context.get("retries", {}) if run.reason is not None else {}
    return {cause: int(stored[cause]) for cause in CAUSES if isinstance(stored, dict) and cause in stored}
