"""Taking what is first in the line in one statement. Only PostgreSQL knows it; `claims.claim` is what it abridges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from windlass.models.queue import Claim, ClaimRequest, Queue
from windlass.models.run import RunPhase, RunState
from windlass_metastore_sql.claims import UNLIMITED
from windlass_metastore_sql.database import RELAXED, Tx, marks
from windlass_metastore_sql.items import CLAIMED, DELAYED, SOMETHING_TO_TEND, WAITING
from windlass_metastore_sql.known import UNCHANGED
from windlass_metastore_sql.run_table import RUNS, unpacked


def is_plain(queue: Queue) -> bool:
    """Whether the line is all that decides who is next."""
    return not queue.fair_share and not queue.paused and queue.limits == UNLIMITED


def due(tx: Tx, queues: Sequence[tuple[int, Queue]], now: float) -> bool:
    """Whether anything comes before the line of these queues.

    Claims that have ended in one of them, delays that are over, items that waited for too long, triggers, budgets.
    """
    numbers = [number for number, _ in queues]
    row = tx.row(
        f"SELECT EXISTS (SELECT 1 FROM items WHERE status = {CLAIMED} AND queue_id IN ({marks(len(numbers))}) "
        f"AND lease_until <= ?) OR EXISTS (SELECT 1 FROM items WHERE status = {DELAYED} AND not_before <= ?) "
        f"OR EXISTS (SELECT 1 FROM budgets) OR {SOMETHING_TO_TEND}",
        *numbers, now, now, now, now,
    )  # fmt: skip
    return bool(row and row[0])


def take(tx: Tx, request: ClaimRequest, number: int, queue: Queue, limit: int, now: float) -> list[Claim]:
    """At most `limit` items of a plain queue.

    An empty list does not mean that there are none: nothing is taken either when the queue is not what it was. The
    statement itself finds that out. An item that has waited for too long is passed over.
    """
    until = now + request.lease_seconds
    rows = tx.rows(
        _statement(limit),
        number, now, number, queue.updated_at,
        request.agent, until, request.lease_seconds,
        request.agent, now, RunState.PENDING.value, RunPhase.PREPARING.value,
    )  # fmt: skip
    if limit > 1:
        rows.sort(key=lambda row: row[-2:])
    return [Claim(run=unpacked(tx, row[0]), queue=queue, lease_until=until) for row in rows]


@lru_cache(maxsize=256)
def _statement(limit: int) -> str:
    place = ("", "") if limit == 1 else (", items.rank, items.pos", ", took.rank, took.pos")
    # The limit is part of the text: the server plans a statement once, and must know that few rows are meant.
    # Every table and index that a statement names costs it a lock and more; hence the look at what is due is no part.
    return (
        f"WITH head AS (SELECT run_id FROM items WHERE status = {WAITING} AND queue_id = ? "
        "AND (expires_at = 0 OR expires_at > ?) "
        f"AND EXISTS (SELECT 1 FROM queues WHERE {UNCHANGED}) "
        f"ORDER BY rank, pos LIMIT {int(limit)} {{skip}}), "
        f"took AS (UPDATE items SET status = {CLAIMED}, agent = ?, lease_until = ?, lease_seconds = ?, limited = 0, "
        "fence = items.fence + 1 FROM head WHERE items.run_id = head.run_id "
        f"RETURNING items.run_id, items.fence{place[0]}) "
        "UPDATE runs SET fence = took.fence, agent = ?, claimed_at = ?, state = ?, phase = ?, not_before = 0 "
        f"FROM took WHERE runs.id = took.run_id RETURNING {RUNS.packed('runs')}, {RELAXED}{place[1]}"
    )
