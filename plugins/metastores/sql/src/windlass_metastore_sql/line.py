"""Taking what is first in the line in one statement. Only PostgreSQL knows it; `claims.claim` is what it abridges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from windlass.models.queue import Claim, ClaimRequest, Queue, QueueLimits
from windlass.models.run import RunPhase, RunState
from windlass_metastore_sql.database import RELAXED, Tx, marks
from windlass_metastore_sql.items import CLAIMED, DELAYED, SOMETHING_TO_TEND, WAITING
from windlass_metastore_sql.known import UNCHANGED
from windlass_metastore_sql.tables import RUNS


def is_plain(queue: Queue) -> bool:
    """Whether the line is all that decides who is next."""
    return not queue.fair_share and not queue.paused and queue.limits == QueueLimits()


def take(
    tx: Tx, request: ClaimRequest, queues: Sequence[tuple[int, Queue]], place: int, limit: int, now: float
) -> list[Claim]:
    """At most `limit` items of the plain queue ``queues[place]``, where `queues` are all of the request.

    None does not mean that there are none: nothing is taken either when the queue is not what it was, when somebody
    has a budget, or when there is anything to be done before the line: claims that have ended in any queue of the
    request, delays that are over, items that waited for too long, triggers. The statement itself finds that out.
    """
    until = now + request.lease_seconds
    number, queue = queues[place]
    rows = tx.rows(
        _statement(len(queues), limit),
        number, number, queue.updated_at,
        *(other for other, _ in queues), now, now, now, now,
        request.agent, until, request.lease_seconds,
        request.agent, now, RunState.PENDING.value, RunPhase.PREPARING.value,
    )  # fmt: skip
    if len(rows) > 1:
        rows.sort(key=lambda row: row[1:3])
    return [Claim(run=RUNS.unpack(row[0]), queue=queue, lease_until=until) for row in rows]


@lru_cache(maxsize=256)
def _statement(queues: int, limit: int) -> str:
    # The limit is part of the text: the server plans a statement once, and must know that few rows are meant.
    return (
        f"WITH head AS (SELECT run_id FROM items WHERE status = {WAITING} AND queue_id = ? "
        f"AND EXISTS (SELECT 1 FROM queues WHERE {UNCHANGED}) "
        f"AND NOT EXISTS (SELECT 1 FROM items WHERE status = {CLAIMED} AND queue_id IN ({marks(queues)}) "
        "AND lease_until <= ?) "
        f"AND NOT EXISTS (SELECT 1 FROM items WHERE status = {DELAYED} AND not_before <= ?) "
        f"AND NOT EXISTS (SELECT 1 FROM budgets) AND NOT ({SOMETHING_TO_TEND}) "
        f"ORDER BY rank, pos LIMIT {int(limit)} {{skip}}), "
        f"took AS (UPDATE items SET status = {CLAIMED}, agent = ?, lease_until = ?, lease_seconds = ?, "
        "fence = items.fence + 1 FROM head WHERE items.run_id = head.run_id "
        "RETURNING items.run_id, items.fence, items.rank, items.pos) "
        "UPDATE runs SET fence = took.fence, agent = ?, claimed_at = ?, state = ?, phase = ?, not_before = 0 "
        f"FROM took WHERE runs.id = took.run_id RETURNING {RUNS.packed('runs')}, took.rank, took.pos, {RELAXED}"
    )
