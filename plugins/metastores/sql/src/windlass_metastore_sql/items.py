"""Queue items: what a claim looks at. Only items of runs that are not over are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass_metastore_sql.database import Tx

if TYPE_CHECKING:
    from windlass.models.queue import QueueRef

WAITING, CLAIMED, DELAYED, BLOCKED = 0, 1, 2, 3
"""Status of an item. Delayed: until ``not_before``. Blocked: until the runs it depends on have finished."""

EXPIRING = f"expires_at > 0 AND status <> {CLAIMED}"
"""Items that must not wait for ever."""

SOMETHING_TO_TEND = (
    f"EXISTS (SELECT 1 FROM items WHERE {EXPIRING} AND expires_at <= ?) OR EXISTS (SELECT 1 FROM occurrences) "
    "OR EXISTS (SELECT 1 FROM triggers WHERE next_at > 0 AND next_at <= ?)"
)
"""Whether `tending.tend` has work; takes the time twice."""

AGEING = 6 * 3600.0
"""Seconds of waiting that count as much as one step of priority."""


def rank(arrival: float, priority: int, *, prioritized: bool) -> float:
    """The place in the line: smaller goes first.

    A number that does not change while the item waits, so that the line is an index. An item that has waited `AGEING`
    seconds longer goes before one of the next higher priority, so that no stream of urgent ones starves it.
    """
    return arrival + max(priority, 0) * AGEING if prioritized else arrival


def urgency(rank: float, now: float, *, prioritized: bool) -> int:
    """The priority that an item has by now, where authors take turns within one."""
    return max(0, round((rank - now) / AGEING)) if prioritized else 0


def queue_ref(tx: Tx, queue_id: int) -> QueueRef | None:
    """The name of a queue."""
    from windlass.models.queue import QueueRef  # most who look at runs need no queue

    row = tx.row("SELECT entity, name FROM queues WHERE id = ?", queue_id)
    return QueueRef(entity=row[0], name=row[1]) if row else None
