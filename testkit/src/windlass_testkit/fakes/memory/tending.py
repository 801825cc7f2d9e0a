"""What time and events bring, and what runs cost, in memory."""

from __future__ import annotations

from collections import Counter

from attrs import evolve

from windlass.clock import month_of, start_of_month
from windlass.errors import WindlassError
from windlass.launch.needs import needs_of
from windlass.launch.policy import effective_policy
from windlass.models.artifact import ArtifactVersion
from windlass.models.queue import Agent, Queue, QueueRef, Waiting
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState, RunUpdate
from windlass.models.schedule import Budget, BudgetUnit, Occurrence, Trigger
from windlass.schedule.costs import hourly_rate
from windlass.schedule.explain import Facts, waiting
from windlass.schedule.order import Place, by_author, first_of
from windlass.schedule.room import AgentView
from windlass.schedule.triggers import alias_moved, chain_of, cron_due, new_version, next_due, request, run_id_of
from windlass_testkit.fakes.memory.agents import is_lost
from windlass_testkit.fakes.memory.runs import changed, needs
from windlass_testkit.fakes.memory.world import Item, World

__all__ = ["exhausted", "explain", "note_aliases", "note_version", "put", "tend", "used"]


def put(world: World, run: Run, queue: Queue, ref: QueueRef, now: float) -> None:
    """Put a new run in the line of its queue."""
    assert run.spec is not None
    policy = effective_policy(run.spec.policy, queue.policy)
    deadline = now + policy.deadline if policy.deadline is not None else 0.0
    ends = [now + policy.queue_timeout] if policy.queue_timeout is not None else []
    world.runs[run.id] = run
    world.items[run.id] = Item(
        queue=ref,
        place=world.number(),
        rate=hourly_rate(queue, run.spec),
        deadline_at=deadline,
        expires_at=min([*ends, deadline] if deadline else ends, default=0.0),
    )


def tend(world: World, now: float) -> None:
    """Kill what has waited too long, and make the runs of cron triggers."""
    for run_id, item in list(world.items.items()):
        if run_id in world.items and not item.claimed and 0 < item.expires_at <= now:
            code = "deadline" if 0 < item.deadline_at <= now else "queue-timeout"
            reason = Reason(code=code, message="it waited for longer than its policy allows")
            changed(world, world.runs[run_id], RunUpdate(state=RunState.KILLED, reason=reason), now)
    for trigger in [t for t in world.triggers.values() if 0 < t.next_at <= now]:
        _fire(world, trigger, cron_due(trigger), now)


def note_version(world: World, version: ArtifactVersion, now: float) -> None:
    """Fire what waits for a version that was made just now."""
    for trigger in list(world.triggers.values()):
        if event := new_version(trigger, version, _chain(world, version.run)):
            _fire(world, trigger, event, now)


def note_aliases(world: World, version: ArtifactVersion, moved: list[str], run: str, now: float) -> None:
    """Fire what waits for aliases that were moved just now, by a run or by nobody that is known."""
    move = str(world.number())
    for trigger in list(world.triggers.values()):
        for alias in moved:
            if event := alias_moved(trigger, version, _chain(world, run), alias, move):
                _fire(world, trigger, event, now)


def _chain(world: World, run_id: str) -> tuple[str, ...]:
    run = world.runs.get(run_id)
    return chain_of(run.config) if run is not None else ()


def _fire(world: World, trigger: Trigger, event: Occurrence, now: float) -> None:
    key = (trigger.entity, trigger.name)
    try:
        after = evolve(world.triggers[key], next_at=next_due(trigger, now), last_at=now)
    except WindlassError as error:  # no data of its time zone here: left as it is
        world.triggers[key] = evolve(world.triggers[key], error=f"{event.key}: {error.message}")
        return
    try:
        assert world.enqueue is not None
        world.enqueue(request(trigger, event), now)
        after = evolve(after, fired=after.fired + 1, last_run=run_id_of(trigger, event.key), error="")
    except WindlassError as error:
        after = evolve(after, error=f"{event.key}: {error.message}")
    world.triggers[key] = after


def used(world: World, budget: Budget, now: float) -> Budget:
    """A budget with what was used this month."""
    total = sum(
        amounts[budget.unit is BudgetUnit.MONEY]
        for (entity, month, user), amounts in world.spending.items()
        if entity == budget.entity and month == month_of(now) and budget.user in ("", user)
    )
    for run_id, item in world.items.items():
        run = world.runs[run_id]
        if item.began_at and run.entity == budget.entity and budget.user in ("", run.author):
            total += (
                (now - max(item.began_at, start_of_month(now)))
                / 3600
                * (item.rate if budget.unit is BudgetUnit.MONEY else 1.0)
            )
    return evolve(budget, used=total)


def exhausted(world: World, run: Run, now: float) -> tuple[Budget, ...]:
    """The budgets that hold a run back."""
    concerned = [b for b in world.budgets.values() if b.entity == run.entity and b.user in ("", run.author)]
    return tuple(b for b in (used(world, b, now) for b in concerned) if b.used >= b.limit)


def explain(world: World, run: Run, now: float) -> Waiting:
    """See `QueueStore.explain`."""
    item = world.items.get(run.id)
    if item is None or run.state not in (RunState.QUEUED, RunState.PENDING):
        return Waiting(run=run.id, state=run.state.value)
    queue = world.queues[item.queue]
    pending = [i for i in needs(run) if world.runs[i].state is not RunState.FINISHED]
    in_line = run.state is RunState.QUEUED and not pending and run.not_before <= now

    others = {i: other for i, other in world.items.items() if other.queue == item.queue}
    busy = tuple((world.runs[i].author, now - world.runs[i].claimed_at) for i, o in others.items() if o.claimed)
    ahead, later = _ahead(world, run, queue, others, now) if in_line else (None, 0)
    like = [
        (r.job == run.job, r.finished_at - r.claimed_at)
        for r in world.runs.values()
        if r.state is RunState.FINISHED
        and (r.entity, r.queue) == (run.entity, run.queue)
        and r.job.rpartition(":")[0] == run.job.rpartition(":")[0]
    ]
    same = [seconds for same, seconds in like if same] or [seconds for _, seconds in like if run.job]
    return waiting(
        Facts(
            run=run,
            queue=queue,
            now=now,
            ahead=ahead,
            later=later,
            busy=busy,
            needs=tuple((i, world.runs[i].state.value) for i in pending),
            agents=tuple(
                _view(world, a, now) for a in world.agents.values()
                if item.queue in a.queues and a.state != "stopped" and not is_lost(a, now)
            ),
            budgets=exhausted(world, run, now),
            history=tuple(same[-50:]),
            expires_at=item.expires_at,
        )
    )  # fmt: skip


def _ahead(world: World, run: Run, queue: Queue, others: dict[str, Item], now: float) -> tuple[int, int]:
    """How many items leave before one, and how many of them came later."""

    def place(run_id: str) -> Place:
        found = world.runs[run_id]
        urgency = found.priority if queue.prioritized else 0
        return Place(run_id, found.author, urgency, (float(urgency), float(world.items[run_id].place)))

    waits = [i for i, o in others.items() if not o.claimed and world.runs[i].not_before <= now]
    line = sorted((place(i) for i in waits), key=lambda found: found.rank)
    own = place(run.id).rank
    if not by_author(queue):
        return sum(found.rank < own for found in line), 0
    active = Counter(world.runs[i].author for i, o in others.items() if o.claimed)
    first = first_of(run.id, line, queue, active, {})
    return len(first), sum(found.rank > own for found in first)


def _view(world: World, agent: Agent, now: float) -> AgentView:
    held = []
    for run_id, item in world.items.items():
        run = world.runs[run_id]
        if item.claimed and run.agent == agent.id and run.spec is not None:
            held.append((now - run.claimed_at, needs_of(world.queues[item.queue], run.spec)))
    return AgentView(agent=agent, held=tuple(held))
