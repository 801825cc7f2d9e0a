"""What a process remembers of queues, to read them less often. Only PostgreSQL knows it."""

from __future__ import annotations

from windlass.models.queue import Queue, QueueRef
from windlass_metastore_sql.claims import find_queue
from windlass_metastore_sql.database import Tx

_MOST = 1000

UNCHANGED = "id = ? AND updated_at = ?"
"""Whether a row of ``queues`` is what is remembered; whoever relies on that must ask."""


class KnownQueues:
    """Queues and their numbers, as they were when they were read last."""

    def __init__(self) -> None:
        self._known: dict[QueueRef, tuple[int, Queue]] = {}

    def get(self, tx: Tx, ref: QueueRef) -> tuple[int, Queue]:
        """What is remembered, or what there is. Raises `NotFoundError`."""
        return self._known.get(ref) or self.read(tx, ref)

    def read(self, tx: Tx, ref: QueueRef) -> tuple[int, Queue]:
        """What there is. Raises `NotFoundError`."""
        self._known.pop(ref, None)
        found = find_queue(tx, ref)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[ref] = found
        return found

    def forget(self, ref: QueueRef) -> None:
        """Read it again before it is used again."""
        self._known.pop(ref, None)
