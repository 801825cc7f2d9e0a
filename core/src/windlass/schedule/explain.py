"""Why a run is not running yet."""

from __future__ import annotations

import datetime as dt

from attrs import frozen

from windlass.models.queue import Agent, Queue, Waiting
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState
from windlass.models.schedule import Budget
from windlass.schedule.forecast import starts_in, typical

__all__ = ["Facts", "waiting"]


@frozen(kw_only=True)
class Facts:
    """What a store knows about a run that is on a queue.

    Attributes:
        ahead: Items that leave the queue before it; None when it does not stand in line.
        busy: Author and age in seconds of each claim on the queue.
        needs: Runs that must finish first.
        agents: Those of this queue that are alive.
        budgets: Those that hold it back.
        history: Seconds that like runs took, newest first.
    """

    run: Run
    queue: Queue
    now: float
    ahead: int | None
    busy: tuple[tuple[str, float], ...] = ()
    needs: tuple[str, ...] = ()
    agents: tuple[Agent, ...] = ()
    budgets: tuple[Budget, ...] = ()
    history: tuple[float, ...] = ()


def waiting(facts: Facts) -> Waiting:
    """The answer for a run that is queued or pending."""
    run, takes = facts.run, typical(facts.history)
    in_line = run.state is RunState.QUEUED and facts.ahead is not None
    reasons = _reasons(facts) if run.state is RunState.QUEUED else [_phase(run)]
    blocked = {"agent-absent", "queue-paused", "user-limit", "dependency", "budget"} & {r.code for r in reasons}
    delay = max(run.not_before - facts.now, 0.0)
    soon = None
    if run.state is RunState.QUEUED and not blocked:
        soon = starts_in(
            ahead=facts.ahead or 0, running=[age for _, age in facts.busy], slots=_slots(facts), takes=takes
        )
    return Waiting(
        run=run.id,
        state=run.state.value,
        position=(facts.ahead or 0) + 1 if in_line else 0,
        reasons=tuple(reasons),
        starts_in=None if soon is None else max(soon, delay),
        takes=takes,
        history=len(facts.history),
    )


def _slots(facts: Facts) -> int | None:
    """Runs of this queue that can be at work at the same time; None: any number."""
    sizes = [agent.max_jobs for agent in facts.agents]
    slots = None if any(size < 0 for size in sizes) else sum(sizes)
    limit = facts.queue.limits.concurrency
    return limit if slots is None else slots if limit is None else min(slots, limit)


def _phase(run: Run) -> Reason:
    return Reason(
        code="phase",
        message=f"an agent has it: {run.phase or 'preparing'}",
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
    if not facts.agents:
        add(
            "agent-absent",
            f"no agent takes items of queue '{queue.name}'",
            f"windlass launch-agent -q {queue.name} -e {queue.entity}",
        )
    if facts.needs:
        add("dependency", f"it starts when these have finished: {', '.join(facts.needs)}", runs=list(facts.needs))
    if run.not_before > facts.now:
        add(
            "back-off",
            f"attempt {run.attempt} starts in {run.not_before - facts.now:.0f} s",
            seconds=round(run.not_before - facts.now, 3),
        )
    for budget in facts.budgets:
        whose = f"of '{budget.user}' in '{budget.entity}'" if budget.user else f"of '{budget.entity}'"
        add(
            "budget",
            f"the budget {whose} is used up: {budget.used:.2f} of {budget.limit:g} {budget.unit} this month",
            f"It goes on on {_next_month(facts.now)}, or when an owner raises it: windlass budget set",
            entity=budget.entity, user=budget.user, unit=budget.unit.value, limit=budget.limit, used=budget.used,
        )  # fmt: skip
    own = sum(author == run.author for author, _ in facts.busy)
    if limits.per_user is not None and own >= limits.per_user:
        add("user-limit", f"'{run.author}' has {own} runs at work; the queue allows {limits.per_user}", limit=own)
    if limits.concurrency is not None and len(facts.busy) >= limits.concurrency:
        add("concurrency-limit", f"{len(facts.busy)} runs are at work; the queue allows {limits.concurrency}")
    busy_agents = [agent for agent in facts.agents if 0 <= agent.max_jobs <= len(agent.runs)]
    if facts.agents and len(busy_agents) == len(facts.agents):
        add("agents-busy", f"all {len(facts.agents)} agents of the queue have as many runs as they take")
    if facts.ahead:
        add("behind-others", f"{facts.ahead} items leave the queue before it", ahead=facts.ahead)
    if not found:
        add("next", "nothing holds it; the next agent that looks takes it")
    return found


def _next_month(now: float) -> str:
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    return (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1).isoformat()
