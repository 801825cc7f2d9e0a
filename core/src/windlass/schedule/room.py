"""Which agents have room for a run, and when those that have none will have it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from windlass.launch.needs import amount_text, lacking
from windlass.models import JSON
from windlass.models.queue import Agent
from windlass.models.reason import Reason

__all__ = ["AgentView", "like_runs", "no_room", "room_in"]

_NAMED = 3
"""Agents that a sentence names."""


@frozen(kw_only=True)
class AgentView:
    """An agent as a run that waits for it sees it.

    Attributes:
        held: For each run it holds, the seconds since the claim and what it needs.
    """

    agent: Agent
    held: tuple[tuple[float, Mapping[str, float]], ...] = ()

    @property
    def draining(self) -> bool:
        """It takes nothing more."""
        return self.agent.drain_requested or self.agent.state == "draining"

    @property
    def full(self) -> bool:
        """It has as many runs as it takes."""
        return 0 <= self.agent.max_jobs <= len(self.held)

    def free(self) -> dict[str, float]:
        """What is left of its slots."""
        return _left(self.agent.slots, [needs for _, needs in self.held])


def _left(slots: Mapping[str, float], taken: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {slot: max(total - sum(needs.get(slot, 0.0) for needs in taken), 0.0) for slot, total in slots.items()}


def no_room(views: Sequence[AgentView], needs: Mapping[str, float]) -> list[Reason]:
    """Why none of these agents takes a run now; empty when one does, or there is none at all."""
    if any(not view.full and not lacking(view.free(), needs) for view in views):
        return []
    able = [view for view in views if not lacking(view.agent.slots, needs)]
    if views and not able:
        found = _slots_reason("slots-missing", "no agent of the queue offers what it needs", views, needs)
        return [evolve(found, hint="Ask for less, or start an agent with more: slots in launch-config.yaml.")]
    reasons = []
    if waiting := [view for view in able if not view.full]:
        reasons.append(_slots_reason("slots-taken", "other runs have what it needs", waiting, needs))
    if full := [view for view in able if view.full]:
        who = "the queue's agent has" if len(views) == 1 else f"{len(full)} of {len(views)} agents of the queue have"
        reasons.append(Reason(code="agents-busy", message=f"{who} as many runs as max_jobs allows"))
    return reasons


def _slots_reason(code: str, message: str, views: Sequence[AgentView], needs: Mapping[str, float]) -> Reason:
    missing = code == "slots-missing"
    agents: list[dict[str, JSON]] = []
    for view in views:
        offers, free = view.agent.slots, view.free()
        slots = {
            slot: {"needs": need, "free": free[slot], "offers": offers[slot]}
            for slot, need in lacking(offers if missing else free, needs).items()
        }
        agents.append({"id": view.agent.id, "name": view.agent.name or view.agent.id, "lacks": slots})
    short = dict.fromkeys(slot for agent in agents for slot in agent["lacks"])
    wanted = ", ".join(amount_text(slot, needs[slot]) for slot in short)
    told = [
        f"'{agent['name']}' has "
        + ", ".join(
            amount_text(slot, facts["offers"])
            if missing
            else f"{amount_text(slot, facts['free'])} free of {amount_text(slot, facts['offers'])}"
            for slot, facts in agent["lacks"].items()
        )
        for agent in agents[:_NAMED]
    ]
    more = [f"{len(agents) - _NAMED} more agents have no more"] if len(agents) > _NAMED else []
    return Reason(
        code=code,
        message=f"{message}: {wanted}; {'; '.join([*told, *more])}",
        context={"needs": dict(needs), "agents": agents},
    )


def like_runs(agent: Agent, needs: Mapping[str, float]) -> int | None:
    """How many runs with these needs an agent takes at the same time; None: any number."""
    counts = [float(agent.max_jobs)] if agent.max_jobs >= 0 else []
    counts += [total / needs[slot] + 1e-9 for slot, total in agent.slots.items() if needs.get(slot)]
    return math.floor(min(counts)) if counts else None


def room_in(views: Sequence[AgentView], needs: Mapping[str, float], takes: float | None) -> float | None:
    """Seconds until one of the agents has room for a run, if each run takes `takes` seconds; None: unknown."""
    soonest = None
    for view in views:
        if lacking(view.agent.slots, needs):
            continue
        held = sorted(view.held, key=lambda pair: -pair[0])  # the oldest end first
        # Its runs may be of other queues: it is full with any of them.
        most = view.agent.max_jobs if view.agent.max_jobs >= 0 else math.inf
        for ended in range(len(held) + 1):
            if len(held) - ended < most and not lacking(_left(view.agent.slots, [n for _, n in held[ended:]]), needs):
                if ended and takes is None:
                    break
                wait = max((takes or 0.0) - held[ended - 1][0], 0.0) if ended else 0.0
                soonest = wait if soonest is None else min(soonest, wait)
                break
    return soonest
