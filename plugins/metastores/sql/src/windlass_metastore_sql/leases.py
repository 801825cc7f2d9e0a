"""Keeping a claim, and giving it back."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from windlass.errors import FencedError
from windlass.models.queue import Lease, Renewal
from windlass.models.reason import Reason
from windlass.models.run import Run, RunPhase, RunState, RunUpdate
from windlass_metastore_sql import spending
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.database import Tx, marks
from windlass_metastore_sql.items import CLAIMED, DELAYED, WAITING, queue_ref
from windlass_metastore_sql.run_table import get_run
from windlass_metastore_sql.runs import change_run, check_holder, save_run


def extend(tx: Tx, agent: str, leases: Sequence[Lease], lease_seconds: float, now: float) -> Renewal:
    """Extend the claims that still hold."""
    lost: list[str] = []
    held: list[str] = []
    for lease in leases:
        count = tx.run(
            "UPDATE items SET lease_until = ?, lease_seconds = ? "
            f"WHERE run_id = ? AND fence = ? AND agent = ? AND status = {CLAIMED}",
            now + lease_seconds,
            lease_seconds,
            lease.run_id,
            lease.fence,
            agent,
        )
        (held if count else lost).append(lease.run_id)
    stop: list[str] = []
    if held:
        rows = tx.rows(f"SELECT id FROM runs WHERE id IN ({marks(len(held))}) AND stop_requested = 1", *held)
        stop = [run_id for (run_id,) in rows]
    row = tx.row("UPDATE agents SET heartbeat_at = ? WHERE id = ? RETURNING drain_requested", now, agent)
    return Renewal(lost=tuple(lost), stop=tuple(stop), drain=bool(row and row[0]))


def give_back(tx: Tx, lease: Lease, delay: float, changes: RunUpdate, *, next_attempt: bool, now: float) -> Run:
    """Give a run back to its queue."""
    run = get_run(tx, lease.run_id, lock=True)
    check_holder(run, lease.fence, None, lease.agent or None)
    item = tx.row("SELECT queue_id, status, priority FROM items WHERE run_id = ?", run.id)
    if item is None or item[1] != CLAIMED:
        raise FencedError(f"run '{run.id}' is {run.state}; no claim on it holds", hint="Stop working on it.")
    queue_id, _, priority = item
    run = change_run(tx, run, evolve(changes, state=None), now)
    running = run.handle is not None and not next_attempt
    if run.stop_requested and not running:
        reason = Reason(code="stopped-by-user", message="stopped before it was started again")
        return change_run(tx, run, RunUpdate(state=RunState.KILLED, reason=reason), now)
    # The number is counted up here as well, so that the claim that was given back is void at once.
    new = evolve(run, agent="", fence=run.fence + 1, reason=changes.reason)
    if next_attempt:
        cost = run.cost + spending.bill(tx, run.id, now)
        new = evolve(new, attempt=run.attempt + 1, handle=None, host="", exit_code=None, started_at=0.0, cost=cost)
        tx.run("DELETE FROM run_tokens WHERE run_id = ?", run.id)
    if running:  # whoever comes next adopts it: a claim that has ended
        tx.run(
            "UPDATE items SET agent = '', fence = ?, host = ?, lease_until = ? WHERE run_id = ?",
            new.fence,
            new.host,
            now + delay,
            run.id,
        )
    else:
        not_before = now + delay if delay > 0 else 0.0
        new = evolve(new, state=RunState.QUEUED, phase=RunPhase.NONE, queued_at=now, not_before=not_before)
        rank, pos = _head_of_line(tx, run.id, queue_id, priority)
        tx.run(
            "UPDATE items SET status = ?, agent = '', fence = ?, host = ?, not_before = ?, rank = ?, pos = ?, "
            "expires_at = deadline_at WHERE run_id = ?",
            DELAYED if not_before else WAITING,
            new.fence,
            new.host,
            not_before,
            rank,
            pos,
            run.id,
        )
    save_run(tx, run, new)
    if ref := queue_ref(tx, queue_id):
        tx.topics.add(topic(ref))
    return new


def _head_of_line(tx: Tx, run_id: str, queue_id: int, priority: int) -> tuple[float, int]:
    """A place before all waiting items of the same priority, and not before its own."""
    own = tx.row("SELECT rank, pos FROM items WHERE run_id = ?", run_id)
    assert own is not None
    first = tx.row(
        f"SELECT rank, pos FROM items WHERE queue_id = ? AND status = {WAITING} AND priority = ? "
        "ORDER BY rank, pos LIMIT 1",
        queue_id,
        priority,
    )
    if first is None or (own[0], own[1]) < (first[0], first[1]):
        return own[0], own[1]
    return first[0], first[1] - 1
