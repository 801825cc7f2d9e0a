"""Taking what is first in the line in one statement. Only PostgreSQL knows it; `claims.claim` is what it abridges."""

from __future__ import annotations

from functools import lru_cache

from windlass.models.queue import Claim, ClaimRequest, QueueRef
from windlass.models.run import RunPhase, RunState
from windlass_metastore_sql.claims import load_queue
from windlass_metastore_sql.database import RELAXED, Tx
from windlass_metastore_sql.items import CLAIMED, DELAYED, SOMETHING_TO_TEND, WAITING
from windlass_metastore_sql.tables import QUEUES, RUNS

_QUEUE, _RUN = len(QUEUES.names), len(RUNS.names)


def take(tx: Tx, request: ClaimRequest, ref: QueueRef, limit: int, now: float) -> list[Claim] | None:
    """At most `limit` items of a queue. None, with nothing changed, when `claims.claim` must have a look.

    That is when the queue has limits, takes turns or is paused, when somebody has a budget, or when there is anything
    to be done before the line: claims that have ended in any queue of the request, delays that are over, items that
    waited for too long, triggers. The statement itself finds that out.
    """
    until = now + request.lease_seconds
    rows = tx.rows(
        _statement(len(request.queues), limit),
        *(part for other in request.queues for part in (other.entity, other.name)),
        now, now, now, now, ref.entity, ref.name,
        request.agent, until, request.lease_seconds,
        request.agent, now, RunState.PENDING.value, RunPhase.PREPARING.value,
    )  # fmt: skip
    if not rows or not rows[0][_QUEUE]:
        return None
    queue = load_queue(rows[0][:_QUEUE])
    return [
        Claim(run=RUNS.load(row[_QUEUE + 1 :]), queue=queue, lease_until=until)
        for row in rows
        if row[_QUEUE + 1] is not None
    ]


@lru_cache(maxsize=256)
def _statement(queues: int, limit: int) -> str:
    # The limit is part of the text: the server plans a statement once, and must know that few rows are meant.
    asked = " OR ".join("(entity = ? AND name = ?)" for _ in range(queues))
    return (
        "WITH queue AS MATERIALIZED ("
        f"SELECT {QUEUES.columns}, id, fair_share = 0 AND paused = 0 AND limits = '' "
        f"AND NOT EXISTS (SELECT 1 FROM items WHERE status = {CLAIMED} "
        f"AND queue_id IN (SELECT id FROM queues WHERE {asked}) AND lease_until <= ?) "
        f"AND NOT EXISTS (SELECT 1 FROM items WHERE status = {DELAYED} AND not_before <= ?) "
        f"AND NOT EXISTS (SELECT 1 FROM budgets) AND NOT ({SOMETHING_TO_TEND}) AS plain "
        "FROM queues WHERE entity = ? AND name = ?), "
        f"head AS (SELECT run_id FROM items WHERE status = {WAITING} "
        f"AND queue_id = (SELECT id FROM queue WHERE plain) ORDER BY rank, pos LIMIT {int(limit)} {{skip}}), "
        f"took AS (UPDATE items SET status = {CLAIMED}, agent = ?, lease_until = ?, lease_seconds = ?, "
        "fence = items.fence + 1 FROM head WHERE items.run_id = head.run_id "
        "RETURNING items.run_id, items.fence, items.rank, items.pos), "
        "moved AS (UPDATE runs SET fence = took.fence, agent = ?, claimed_at = ?, state = ?, phase = ?, not_before = 0 "
        f"FROM took WHERE runs.id = took.run_id RETURNING {RUNS.prefixed('runs')}, took.rank, took.pos) "
        f"SELECT {QUEUES.prefixed('queue')}, queue.plain, {RUNS.prefixed('moved')}, {RELAXED} "
        "FROM queue LEFT JOIN moved ON true ORDER BY moved.rank, moved.pos"
    )
