"""Why a run is not running yet: facts from the database, judged by `windlass.schedule.explain`."""

from __future__ import annotations

from windlass import wire
from windlass.launch.needs import needs_of
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Agent, Queue, QueueRef, Waiting
from windlass.models.run import Run, RunState
from windlass.schedule.explain import Facts, waiting
from windlass.schedule.order import Place, by_author, first_of
from windlass.schedule.room import AgentView
from windlass_metastore_sql.agents import live_agents
from windlass_metastore_sql.budgets import exhausted
from windlass_metastore_sql.claims import load_queue
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.items import CLAIMED, WAITING, urgency
from windlass_metastore_sql.queue_table import QUEUES
from windlass_metastore_sql.run_table import get_run

_HISTORY = 50
_LOOK_BACK = 2000
"""Runs of a job that are looked at for those."""


def explain(tx: Tx, run_id: str, now: float) -> Waiting:
    """See `QueueStore.explain`."""
    run = get_run(tx, run_id)
    item = tx.row("SELECT queue_id, status, rank, pos, expires_at FROM items WHERE run_id = ?", run_id)
    if item is None or run.state not in (RunState.QUEUED, RunState.PENDING):
        return Waiting(run=run.id, state=run.state.value)
    queue_id, status, rank, pos, expires_at = item
    row = tx.row(f"SELECT {QUEUES.columns}, id FROM queues WHERE id = ?", queue_id)
    assert row is not None
    queue = load_queue(row)
    ref = QueueRef(entity=queue.entity, name=queue.name)
    busy = tx.rows(
        "SELECT items.author, runs.claimed_at FROM items JOIN runs ON runs.id = items.run_id "
        f"WHERE items.queue_id = ? AND items.status = {CLAIMED}",
        queue_id,
    )
    needs = tx.rows(
        "SELECT item_needs.needs, runs.state FROM item_needs LEFT JOIN runs ON runs.id = item_needs.needs "
        "WHERE item_needs.run_id = ? ORDER BY item_needs.needs",
        run_id,
    )
    budgets = exhausted(tx, now, run.entity)
    ahead, later = _ahead(tx, run_id, queue_id, queue, (rank, pos), now) if status == WAITING else (None, 0)
    return waiting(
        Facts(
            run=run,
            queue=queue,
            now=now,
            ahead=ahead,
            later=later,
            busy=tuple((author, now - claimed_at) for author, claimed_at in busy),
            needs=tuple((name, state or "deleted") for name, state in needs),
            agents=tuple(_view(tx, agent, now) for agent in live_agents(tx, now) if ref in agent.queues),
            budgets=tuple(b for b in budgets if b.user in ("", run.author)),
            history=_history(tx, run, queue_id),
            expires_at=expires_at,
        )
    )


def _ahead(tx: Tx, run_id: str, queue_id: int, queue: Queue, own: tuple[float, int], now: float) -> tuple[int, int]:
    """How many items leave before one, and how many of them came later."""
    if not by_author(queue):
        row = tx.row(
            f"SELECT count(*) FROM items WHERE queue_id = ? AND status = {WAITING} "
            "AND (rank < ? OR (rank = ? AND pos < ?))",
            queue_id, own[0], *own,
        )  # fmt: skip
        return (int(row[0]) if row else 0), 0
    rows = tx.rows(
        f"SELECT run_id, author, rank, pos FROM items WHERE queue_id = ? AND status = {WAITING} ORDER BY rank, pos",
        queue_id,
    )
    active = tx.rows(
        f"SELECT author, count(*) FROM items WHERE queue_id = ? AND status = {CLAIMED} GROUP BY author", queue_id
    )
    turns = tx.rows("SELECT author, turn FROM turns WHERE queue_id = ?", queue_id)
    line = [
        Place(run, author, urgency(rank, now, prioritized=queue.prioritized), (rank, pos))
        for run, author, rank, pos in rows
    ]
    first = first_of(run_id, line, queue, dict(active), dict(turns))
    return len(first), sum(place.rank > own for place in first)


def _view(tx: Tx, agent: Agent, now: float) -> AgentView:
    rows = tx.rows(
        "SELECT runs.claimed_at, runs.spec, items.queue_id FROM items JOIN runs ON runs.id = items.run_id "
        f"WHERE items.agent = ? AND items.status = {CLAIMED}",
        agent.id,
    )
    queues: dict[int, Queue] = {}
    for number in {number for *_, number in rows} if agent.slots else ():
        row = tx.row(f"SELECT {QUEUES.columns} FROM queues WHERE id = ?", number)
        if row is not None:
            queues[number] = load_queue(row)
    return AgentView(
        agent=agent,
        held=tuple(
            (now - at, needs_of(queues[number], wire.decode(spec, LaunchSpec)) if spec and number in queues else {})
            for at, spec, number in rows
        ),
    )


def _history(tx: Tx, run: Run, queue_id: int) -> tuple[float, ...]:
    """Seconds that runs of the same job took on this queue; of its other versions when there is none of this one.

    The index holds live runs as well. When the newest of the job all wait, those before the first one that waits are
    looked at.
    """
    base, _, _ = run.job.rpartition(":")
    versions: list[tuple[str, tuple[str, ...], str]] = [("job = ?", (run.job,), "seq DESC")]
    if base:
        versions.append(("job > ? AND job < ?", (f"{base}:", f"{base};"), "job DESC, seq DESC"))
    before = f"AND seq < (SELECT min(pos) FROM items WHERE queue_id = ? AND status = {WAITING}) "
    for condition, values, order in versions:
        for bound, number in (("", ()), (before, (queue_id,))):
            rows = tx.rows(
                "SELECT finished_at - claimed_at FROM (SELECT job, seq, state, claimed_at, finished_at FROM runs "
                f"WHERE entity = ? AND queue = ? AND {condition} {bound}ORDER BY {order} LIMIT {_LOOK_BACK}) AS newest "
                f"WHERE state = 'finished' AND claimed_at > 0 ORDER BY {order} LIMIT {_HISTORY}",
                run.entity,
                run.queue,
                *values,
                *number,
            )
            if rows:
                return tuple(float(seconds) for (seconds,) in rows)
    return ()
