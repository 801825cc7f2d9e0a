"""What keeps an agent from ending with ``--drain``."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from windlass.errors import NotFoundError, WindlassError
from windlass.models.queue import QueueRef
from windlass.models.run import RunFilter, RunState

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore

__all__ = ["Left"]

_log = logging.getLogger(__name__)
_FIRST = 5.0
_AGAIN = 600.0


class Left:
    """Items that are not over, on queues that an agent is to empty.

    Args:
        store: The metadata store.
        refs: The queues.
    """

    def __init__(self, store: MetadataStore, refs: Iterable[QueueRef]) -> None:
        self._store = store
        self._refs = tuple(refs)
        self._say_at = 0.0

    def count(self) -> int:
        """How many there are; those of paused queues are not waited for."""
        return sum(map(self._in, self._refs))

    def _in(self, ref: QueueRef) -> int:
        try:
            if self._store.queues.get(ref).paused:
                return 0
            status = self._store.queues.status(ref)
            return status.queued + status.pending + status.running
        except NotFoundError:
            return 0

    def say(self, number: int) -> None:
        """Tell what the first of them wait for, when that lasts: a budget may hold them for weeks."""
        now = time.monotonic()
        self._say_at = self._say_at or now + _FIRST
        if now < self._say_at:
            return
        self._say_at = now + _AGAIN
        try:
            why = [text for ref in self._refs if (text := self._first(ref))]
        except WindlassError as error:
            _log.debug("what is waited for was not told: %s", error)
            why = []
        _log.info("not over, so that this agent cannot end: %d; %s", number, "; ".join(why) or "of other agents")

    def nothing(self) -> None:
        """There was something to do meanwhile."""
        self._say_at = 0.0

    def _first(self, ref: QueueRef) -> str:
        states = (RunState.QUEUED, RunState.PENDING, RunState.RUNNING)
        found = self._store.runs.list(RunFilter(entity=ref.entity, queue=ref.name, states=states, limit=1000))
        if not found:
            return ""
        run = found[-1]
        if run.state is RunState.RUNNING:
            return f"{run.id} of queue {ref.name} runs under agent {run.agent}"
        reasons = self._store.queues.explain(run.id).reasons
        return f"{run.id} of queue {ref.name}: {', '.join(reason.message for reason in reasons)}"
