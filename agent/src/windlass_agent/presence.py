"""What an agent says of itself in the store, for people and for other agents."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from windlass.errors import NotFoundError, WindlassError

if TYPE_CHECKING:
    from windlass.metastore import AgentStore
    from windlass.models.queue import Agent, QueueRef

__all__ = ["Presence"]

_log = logging.getLogger(__name__)
_SAY_EVERY = 60.0
_SAY_RUNS_EVERY = 2.0


class Presence:
    """The row of one agent.

    Args:
        agents: The store's part.
        row: The agent, as it registers.
    """

    def __init__(self, agents: AgentStore, row: Agent) -> None:
        self._agents = agents
        self._row = row
        self._state = ""
        self._said_at = 0.0
        self._said_runs: tuple[str, ...] = ()

    def register(self) -> None:
        """Appear. Raises what the store does."""
        self._agents.register(self._row)

    def say(self, state: str, runs: tuple[str, ...]) -> None:
        """Tell what the agent does, when that changed or was long ago; not important enough to fail."""
        passed = time.monotonic() - self._said_at
        if state == self._state and passed < (_SAY_EVERY if runs == self._said_runs else _SAY_RUNS_EVERY):
            return
        try:
            try:
                self._agents.heartbeat(self._row.id, state, runs)
            except NotFoundError:
                if state == "stopped":
                    return
                _log.warning("somebody removed this agent from the store; it registers again")
                self.register()
                self._agents.heartbeat(self._row.id, state, runs)
            self._state, self._said_runs, self._said_at = state, runs, time.monotonic()
        except WindlassError as error:
            _log.debug("the agent's state was not stored: %s", error)

    def others(self, queue: QueueRef) -> bool:
        """Whether another agent takes items of the queue and, as far as it says, has a backend for them."""
        busy = ("draining", "waiting", "stopped", "lost")
        try:
            rows = self._agents.list(self._row.entity)
        except WindlassError:
            return False
        return any(row.id != self._row.id and queue in row.queues and row.state not in busy for row in rows)
