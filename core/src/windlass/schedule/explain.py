"""Why a run is not running yet."""

from __future__ import annotations

import datetime as dt

from attrs import frozen

from windlass.launch.needs import needs_of
from windlass.models.queue import Queue, Waiting
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState
from windlass.models.schedule import Budget
from windlass.schedule.forecast import starts_in, typical
from windlass.schedule.room import AgentView, like_runs, no_room, room_in

__all__ = ["Facts", "waiting"]


@frozen(kw_only=True)
class Facts:
    """What a store knows about a run that is on a queue.

    Attributes:
        ahead: Items that leave the queue before it; None when it does not stand in line.
        later: Of these, those that came after it.
        busy: Author and age in seconds of each claim on the queue.
        needs: Runs that must finish first, each with its state.
        agents: Those of this queue that are alive.
        budgets: Those that hold it back.
        history: Seconds that like runs took, newest first.
        expires_at: When it is taken off the queue unstarted; 0: never.
    """

    run: Run
    queue: Queue
    now: float
    ahead: int | None
    later: int = 0
    busy: tuple[tuple[str, float], ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    agents: tuple[AgentView, ...] = ()
    budgets: tuple[Budget, ...] = ()
    history: tuple[float, ...] = ()
    expires_at: float = 0.0

    @property
    def willing(self) -> tuple[AgentView, ...]:
        """The agents that are not about to end."""
        return tuple(view for view in self.agents if not view.draining)

    @property
    def slots(self) -> dict[str, float]:
        """What the run needs of an agent's slots."""
        return needs_of(self.queue, self.run.spec) if self.run.spec is not None else {}


_NO_TELLING = {
    "agent-absent", "backend-away", "slots-missing", "queue-paused", "user-limit", "dependency", "budget",
    "queue-timeout",
}  # fmt: skip
"""Reasons whose end nobody can foretell."""


def waiting(facts: Facts) -> Waiting:
    """The answer for a run that is queued or pending."""
    run, takes = facts.run, typical(facts.history)
    queued = run.state is RunState.QUEUED
    in_line = queued and facts.ahead is not None
    reasons = _reasons(facts) if queued else [_phase(run)]
    return Waiting(
        run=run.id,
        state=run.state.value,
        position=(facts.ahead or 0) + 1 if in_line else 0,
        reasons=tuple(reasons),
        starts_in=_starts_in(facts, takes) if queued and not _NO_TELLING & {r.code for r in reasons} else None,
        takes=takes,
        history=len(facts.history),
        expires_in=max(facts.expires_at - facts.now, 0.0) if queued and facts.expires_at else None,
    )


def _starts_in(facts: Facts, takes: float | None) -> float | None:
    line = starts_in(ahead=facts.ahead or 0, running=[age for _, age in facts.busy], slots=_at_once(facts), takes=takes)
    room = room_in(facts.willing, facts.slots, takes)
    if line is None or room is None:
        return None
    return max(line, room, facts.run.not_before - facts.now)


def _at_once(facts: Facts) -> int | None:
    """Runs of this queue that can be at work at the same time; None: any number."""
    sizes = [like_runs(view.agent, facts.slots) for view in facts.willing]
    agents = None if None in sizes else sum(size for size in sizes if size is not None)
    limit = facts.queue.limits.concurrency
    return limit if agents is None else agents if limit is None else min(agents, limit)


def _phase(run: Run) -> Reason:
    return Reason(
        code="phase",
        message=f"agent {run.agent} has it: {run.phase or 'preparing'}",
        hint=f"windlass run logs {run.id}" if run.phase == "building" else "",
        context={"phase": run.phase.value, "agent": run.agent},
    )


def _reasons(facts: Facts) -> list[Reason]:
    run, queue, limits = facts.run, facts.queue, facts.queue.limits
    found: list[Reason] = []

    def add(code: str, message: str, hint: str = "", **context: object) -> None:
        found.append(Reason(code=code, message=message, hint=hint, context=context))

    if queue.paused:
        add("queue-paused", f"queue '{queue.name}' is paused", f"windlass queue resume {queue.name}")
    if not facts.willing:
        ending = f"; {len(facts.agents)} that did are about to end" if facts.agents else ""
        add(
            "agent-absent",
            f"no agent takes items of queue '{queue.name}'{ending}",
            f"windlass launch-agent -q {queue.name} -e {queue.entity}",
        )
    elif all(view.agent.state == "waiting" for view in facts.willing):
        last = run.reason.message if run.reason is not None else "windlass doctor on its machine says which"
        who = "the queue's agent waits" if len(facts.willing) == 1 else "the queue's agents wait"
        add("backend-away", f"{who} for a backend that does not answer: {last}")
    if facts.needs:
        add(
            "dependency",
            f"it starts when these have finished: {', '.join(f'{name} ({state})' for name, state in facts.needs)}",
            f"windlass run show {facts.needs[0][0]}",
            runs=[name for name, _ in facts.needs],
            states=dict(facts.needs),
        )
    if run.not_before > facts.now:
        last = f"; the last one ended: {run.reason.message}" if run.reason is not None and run.attempt > 1 else ""
        add(
            "back-off",
            f"attempt {run.attempt} starts in {run.not_before - facts.now:.0f} s, at {_clock(run.not_before)}{last}",
            seconds=round(run.not_before - facts.now, 3),
            until=run.not_before,
        )
    for budget in facts.budgets:
        add(
            "budget",
            used_up(budget),
            f"It goes on from {_next_month(facts.now)}, or when an owner raises it: windlass budget set",
            entity=budget.entity, user=budget.user, unit=budget.unit.value, limit=budget.limit, used=budget.used,
        )  # fmt: skip
    own = sum(author == run.author for author, _ in facts.busy)
    if limits.per_user is not None and own >= limits.per_user:
        add(
            "user-limit",
            f"'{run.author}' has {_count(own, 'run')} at work; the queue allows {limits.per_user}",
            at_work=own,
            limit=limits.per_user,
        )
    if limits.concurrency is not None and len(facts.busy) >= limits.concurrency:
        add(
            "concurrency-limit",
            f"the queue has {_count(len(facts.busy), 'run')} at work and allows {limits.concurrency}",
            at_work=len(facts.busy),
            limit=limits.concurrency,
        )
    found += no_room(facts.willing, facts.slots)
    if facts.expires_at and facts.expires_at <= facts.now:
        add("queue-timeout", "its time in the queue is over; it ends as soon as an agent of any queue looks")
    if facts.later:
        add(
            "fair-share",
            f"submitters take turns: '{run.author}' has {_count(own, 'run')} at work, so that {facts.later} "
            "that came later go first",
            author=run.author, at_work=own, later=facts.later,
        )  # fmt: skip
    if facts.ahead:
        add(
            "behind-others",
            "1 item leaves the queue before it" if facts.ahead == 1
            else f"{facts.ahead} items leave the queue before it",
            ahead=facts.ahead,
        )  # fmt: skip
    if not found:
        add("next", "nothing holds it; the next agent that looks takes it")
    return found


def used_up(budget: Budget) -> str:
    """That a budget lets nothing start any more."""
    whose = f"of '{budget.user}' in '{budget.entity}'" if budget.user else f"of '{budget.entity}'"
    return f"the budget {whose} is used up: {budget.used:.2f} of {budget.limit:g} {budget.unit} this month"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _clock(time: float) -> str:
    try:
        return dt.datetime.fromtimestamp(time, dt.UTC).strftime("%H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "no date that there is"  # of a policy that was stored before durations were bounded


def _next_month(now: float) -> str:
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    return (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1).isoformat()
