"""Agents in memory."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from windlass.errors import NotFoundError
from windlass.metastore import AgentStore
from windlass.models.queue import Agent
from windlass.models.run import LOST_AFTER
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.world import World

__all__ = ["MemoryAgents", "is_lost"]


def is_lost(agent: Agent, now: float) -> bool:
    """True when an agent that has not said goodbye was not heard of for three minutes."""
    return agent.state != "stopped" and now - agent.heartbeat_at > LOST_AFTER


@faulty
class MemoryAgents(AgentStore):
    """See `AgentStore`."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults

    def register(self, agent: Agent) -> Agent:
        with self._world.changing() as now:
            unknown = [ref for ref in agent.queues if ref not in self._world.queues]
            if unknown:
                from windlass_testkit.fakes.memory.queues import no_queue

                raise no_queue(self._world, unknown[0])
            stored = evolve(agent, created_at=agent.created_at or now, heartbeat_at=now)
            self._world.agents.pop(agent.id, None)
            self._world.agents[agent.id] = stored
            return stored

    def heartbeat(self, agent_id: str, state: str, runs: Sequence[str]) -> Agent:
        with self._world.changing() as now:
            agent = evolve(self._agent(agent_id), state=state, runs=tuple(runs), heartbeat_at=now)
            self._world.agents[agent_id] = agent
            return agent

    def get(self, agent_id: str) -> Agent:
        with self._world.changing() as now:
            return _shown(self._agent(agent_id), now)

    def list(self, entity: str = "") -> tuple[Agent, ...]:
        with self._world.changing() as now:
            newest = reversed(self._world.agents.values())
            return tuple(_shown(agent, now) for agent in newest if not entity or agent.entity == entity)

    def request_drain(self, agent_id: str) -> Agent:
        with self._world.changing(ring=True):
            agent = evolve(self._agent(agent_id), drain_requested=True)
            self._world.agents[agent_id] = agent
            return agent

    def _agent(self, agent_id: str) -> Agent:
        try:
            return self._world.agents[agent_id]
        except KeyError:
            raise NotFoundError(f"there is no agent '{agent_id}'") from None


def _shown(agent: Agent, now: float) -> Agent:
    return evolve(agent, state="lost") if is_lost(agent, now) else agent
