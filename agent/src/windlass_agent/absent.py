"""Queues whose backend does not answer: nothing more is taken off them until it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from windlass.errors import WindlassError
from windlass.models.queue import QueueRef

__all__ = ["Absent", "Postponed"]

_log = logging.getLogger(__name__)
_LONGEST = 2.0


class Postponed(Exception):
    """The run is not kept waiting for a backend here: another agent may have one that works."""


class Absent:
    """What an agent knows of backends that are away. Serves several threads.

    An agent that went on claiming would keep every item of the queue from agents whose backends work, and all its
    threads from its other queues. So one item at most waits here, for people to see why, and the rest stays in line.

    Args:
        changed: Called when a backend ceased to answer, or answers again.
        ended: Set when the agent ends.
    """

    def __init__(self, changed: Callable[[], None], ended: threading.Event) -> None:
        self._changed = changed
        self._ended = ended
        self._checks: dict[QueueRef, Callable[[], None]] = {}
        self._waiting: set[QueueRef] = set()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._checks)

    def present(self, queues: Iterable[QueueRef]) -> tuple[QueueRef, ...]:
        """Those of the queues whose backends answer, as far as it is known."""
        with self._lock:
            return tuple(queue for queue in queues if queue not in self._checks)

    def note(self, queue: QueueRef, error: WindlassError, check: Callable[[], None]) -> None:
        """A backend that the queue's items need does not answer.

        Args:
            queue: The queue.
            error: What it said.
            check: Asks it again; raises a retryable error as long as it is away.
        """
        with self._lock:
            known, watched = queue in self._checks, bool(self._checks)
            self._checks[queue] = check
        if not known:
            _log.warning("nothing is taken from queue %s until a backend answers: %s", queue.name, error)
        if not watched:
            threading.Thread(target=self._watch, name="windlass-absent", daemon=True).start()
        if not known:
            self._changed()

    def enter(self, queue: QueueRef) -> bool:
        """Be the one item of the queue that waits; False when another does. Then `leave` is owed."""
        with self._lock:
            first = queue not in self._waiting
            self._waiting.add(queue)
            return first

    def leave(self, queue: QueueRef) -> None:
        """Wait no longer."""
        with self._lock:
            self._waiting.discard(queue)

    def _watch(self) -> None:
        pause = 0.1
        while not self._ended.wait(pause):
            pause = min(pause * 2, _LONGEST)
            for queue, check in list(self._checks.items()):
                try:
                    check()
                except WindlassError as error:
                    if error.retryable:
                        continue  # what is wrong for good is for the next run to say
                with self._lock:
                    del self._checks[queue]
                    left = bool(self._checks)
                _log.info("the backends of queue %s answer again", queue.name)
                self._changed()
                if not left:
                    return
