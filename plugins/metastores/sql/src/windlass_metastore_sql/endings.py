"""The end of a claimed run in one statement. Only PostgreSQL knows it; `runs.change_run` is what it abridges."""

from __future__ import annotations

from functools import lru_cache

from windlass.clock import month_of
from windlass.models.queue import queue_of
from windlass.models.run import Run, RunPhase, RunUpdate
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.items import CLAIMED
from windlass_metastore_sql.run_table import RUNS, unpacked

_PLAIN = ("name", "host", "handle", "image", "exit_code", "job", "tags", "notes", "usage")


def is_simple(changes: RunUpdate) -> bool:
    """Whether nothing has to be merged into what the run's code wrote."""
    return not changes.config and not changes.summary


def end(tx: Tx, run_id: str, changes: RunUpdate, fence: int, agent: str | None, now: float) -> Run | None:
    """End a run and take it off its queue. None when that is not all there is to it; then nothing was changed.

    The item's row decides: it is there, claimed under `fence` (by `agent`, if that is given), as long as the run is not
    over, and it tells whether others wait for this run. Its deletion is the lock, in the usual order: item, then run.
    The run's tokens, which are void now, are left to `access.sweep_tokens`: each table that a statement names costs.
    """
    assert changes.state is not None
    given = tuple(name for name in _PLAIN if getattr(changes, name) is not None)
    values = {name: getattr(changes, name) for name in given}
    values.update(state=changes.state, phase=RunPhase.NONE, reason=changes.reason, finished_at=now)
    if changes.heartbeat:
        values["heartbeat_at"] = now
    timings = RUNS.dump_field("timings", changes.timings or {})
    row = tx.row(
        _statement(tuple(values), bool(timings)),
        run_id,
        fence,
        agent,
        agent,
        now,
        month_of(now),
        *(RUNS.dump_field(name, value) for name, value in values.items()),
        *((timings, timings) if timings else ()),
        fence,
    )
    if row is None:
        return None
    packed, limited = row
    run = unpacked(tx, packed)
    if limited:
        tx.topics.add(topic(queue_of(run)))  # a place under its queue's limits may have become free
    return run


@lru_cache(maxsize=256)
def _statement(columns: tuple[str, ...], timings: bool) -> str:
    changes = "".join(f', "{name}" = ?' for name in columns)
    if timings:
        changes += ", timings = CASE WHEN timings = '' THEN ? ELSE (timings::jsonb || ?::jsonb)::text END"
    return (
        # `- 0` keeps the server from reading all claimed items of their index, which it would prefer while it is small.
        f"WITH gone AS (DELETE FROM items WHERE run_id = ? AND fence = ? AND status - 0 = {CLAIMED} AND needed = 0 "
        "AND (?::text IS NULL OR agent = ?::text) "
        "RETURNING run_id, limited, owner, author, rate, began_at, "
        "CASE WHEN began_at > 0 THEN greatest(?::float8 - began_at, 0) / 3600 ELSE 0 END AS hours), "
        'bill AS (INSERT INTO spending (entity, month, "user", hours, money) '
        "SELECT owner, ?::text, author, hours, hours * rate FROM gone WHERE began_at > 0 "
        'ON CONFLICT (entity, month, "user") DO UPDATE SET hours = spending.hours + excluded.hours, '
        "money = spending.money + excluded.money) "
        f"UPDATE runs SET cost = cost + hours * rate{changes} FROM gone "
        "WHERE runs.id = gone.run_id AND runs.fence = ? "
        f"RETURNING {RUNS.packed('runs')}, gone.limited"
    )
