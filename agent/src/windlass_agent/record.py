"""A claimed run in the store: every change is fenced, repeated while the store is out of reach, and announced."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from windlass.models.run import Run, RunPhase, RunState, RunUpdate
from windlass.plugins.events import RunChanged, RunFinished

if TYPE_CHECKING:
    from windlass.models.queue import Claim
    from windlass_agent.claims import Held
    from windlass_agent.services import Services

__all__ = ["Record"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Record:
    """The run of one claim.

    Attributes:
        run: As it was last seen.
        claimed: As it was claimed.
        held: The claim's lease.
        now: The store's clock as it was at the claim. Limits are judged by it: somebody may set a clock by hours.
    """

    def __init__(self, services: Services, claim: Claim, held: Held) -> None:
        self._services = services
        self.claimed: Run = claim.run
        self.run: Run = claim.run
        self.held = held
        offset = claim.run.claimed_at - time.monotonic()
        self.now: Callable[[], float] = lambda: time.monotonic() + offset

    @property
    def id(self) -> str:
        """Id of the run."""
        return self.claimed.id

    def insist(self, call: Callable[[], T]) -> T:
        """See `Services.insist`."""
        return self._services.insist(self.held, call)

    def update(self, changes: RunUpdate) -> None:
        """Change the run. Raises `FencedError` when it belongs to another agent."""
        before = self.run
        self.run = self._store(changes)
        if (self.run.state, self.run.phase) != (before.state, before.phase):
            _log.info("%s is %s", self.id, self.run.phase or self.run.state)
            self._services.app.fire(RunChanged(run=self.run, before=before))

    def finish(self, state: RunState, changes: RunUpdate) -> Callable[[], None]:
        """End the run; returns what is to be announced once the claim is let go."""
        before = self.run
        final = evolve(changes, state=state, phase=RunPhase.NONE)
        self.run = self._store(final)
        _log.info("%s %s: %s", self.id, state, changes.reason.message if changes.reason else "")

        def announce() -> None:
            self._services.app.fire(RunChanged(run=self.run, before=before))
            self._services.app.fire(RunFinished(run=self.run))

        return announce

    def _store(self, changes: RunUpdate) -> Run:
        lease = self.held.lease
        return self.insist(
            lambda: self._services.store.runs.update(self.id, changes, fence=lease.fence, agent=lease.agent)
        )

    def retry(self, delay: float, changes: RunUpdate) -> Callable[[], None]:
        """Give the run back for its next attempt; returns what is to be announced once the claim is let go."""
        before = self.run
        lease = self.held.lease
        self.run = self.insist(lambda: self._services.store.queues.release(lease, delay, changes, next_attempt=True))
        message = changes.reason.message if changes.reason else ""
        _log.info("%s goes back to its queue for %.1f s: %s", self.id, delay, message)
        return lambda: self._services.app.fire(RunChanged(run=self.run, before=before))
