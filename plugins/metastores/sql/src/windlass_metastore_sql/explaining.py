"""Why a run is not running yet: facts from the database, judged by `windlass.schedule.explain`."""

from __future__ import annotations

from windlass.models.queue import QueueRef, Waiting
from windlass.models.run import Run, RunState
from windlass.schedule.explain import Facts, waiting
from windlass_metastore_sql import spending
from windlass_metastore_sql.agents import live_agents
from windlass_metastore_sql.claims import load_queue
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.items import CLAIMED, WAITING
from windlass_metastore_sql.rows import QUEUES
from windlass_metastore_sql.runs import get_run

_HISTORY = 50


def explain(tx: Tx, run_id: str, now: float) -> Waiting:
    """See `QueueStore.explain`."""
    run = get_run(tx, run_id)
    item = tx.row("SELECT queue_id, status, rank, pos FROM items WHERE run_id = ?", run_id)
    if item is None or run.state not in (RunState.QUEUED, RunState.PENDING):
        return Waiting(run=run.id, state=run.state.value)
    queue_id, status, rank, pos = item
    row = tx.row(f"SELECT {QUEUES.columns}, id FROM queues WHERE id = ?", queue_id)
    assert row is not None
    queue = load_queue(row)
    ref = QueueRef(entity=queue.entity, name=queue.name)
    ahead = tx.row(
        f"SELECT count(*) FROM items WHERE queue_id = ? AND status = {WAITING} "
        "AND (rank < ? OR (rank = ? AND pos < ?))",
        queue_id,
        rank,
        rank,
        pos,
    )
    busy = tx.rows(
        "SELECT items.author, runs.claimed_at FROM items JOIN runs ON runs.id = items.run_id "
        f"WHERE items.queue_id = ? AND items.status = {CLAIMED}",
        queue_id,
    )
    needs = tx.rows("SELECT needs FROM item_needs WHERE run_id = ? ORDER BY needs", run_id)
    return waiting(
        Facts(
            run=run,
            queue=queue,
            now=now,
            ahead=int(ahead[0]) if ahead and status == WAITING else None,
            busy=tuple((author, now - claimed_at) for author, claimed_at in busy),
            needs=tuple(name for (name,) in needs),
            agents=tuple(agent for agent in live_agents(tx, now) if ref in agent.queues),
            budgets=tuple(b for b in spending.exhausted(tx, now, run.entity) if b.user in ("", run.author)),
            history=_history(tx, run),
        )
    )


def _history(tx: Tx, run: Run) -> tuple[float, ...]:
    rows = tx.rows(
        "SELECT finished_at - claimed_at FROM runs WHERE entity = ? AND queue = ? AND job = ? AND state = 'finished' "
        f"AND finished_at > 0 AND claimed_at > 0 ORDER BY seq DESC LIMIT {_HISTORY}",
        run.entity,
        run.queue,
        run.job,
    )
    return tuple(float(seconds) for (seconds,) in rows)
