"""Putting requests on queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windlass.errors import RunNotFoundError, UsageError
from windlass.launch.policy import effective_policy
from windlass.models.queue import NewItem, Queue, QueueRef
from windlass.models.run import Run, RunState, RunUpdate
from windlass.schedule.costs import hourly_rate
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.claims import find_queue, load_queue
from windlass_metastore_sql.database import KeyTakenError, Tx, marks
from windlass_metastore_sql.items import BLOCKED, WAITING, rank
from windlass_metastore_sql.known import UNCHANGED, KnownQueues
from windlass_metastore_sql.queue_table import QUEUES
from windlass_metastore_sql.run_table import RUNS, get_run
from windlass_metastore_sql.runs import change_run, check_id, dependency_reason, insert_runs


def check_items(items: Sequence[NewItem]) -> None:
    """Raise `UsageError` for what cannot be a request."""
    for item in items:
        check_id(item.run_id)
        if not 0 <= item.priority <= 3:
            raise UsageError(f"{item.priority} is no priority", where=item.run_id, hint="0 (critical) to 3 (low).")


def enqueue(tx: Tx, items: Sequence[NewItem], now: float) -> tuple[Run, ...]:
    """Put requests on their queues, as far as their run ids are new."""
    arrivals: dict[QueueRef, tuple[int, Queue, float]] = {}
    for ref in sorted({item.queue for item in items}, key=topic):  # one order of locks for everybody
        arrivals[ref] = _arrive(tx, ref, now)
    if any(item.spec.depends_on for item in items):
        return tuple(run for item in items for run in _add(tx, [item], arrivals, now))
    return _add(tx, items, arrivals, now)


def _arrive(tx: Tx, ref: QueueRef, now: float) -> tuple[int, Queue, float]:
    if tx.locks:
        # Those who submit do not wait for each other: the queue may only not go away, and the server's clock, which
        # is the same for all, tells who was first.
        sql = (
            f"SELECT {QUEUES.columns}, id, extract(epoch FROM clock_timestamp())::float8 "
            "FROM queues WHERE entity = ? AND name = ? FOR KEY SHARE"
        )
        row = tx.row(sql, ref.entity, ref.name)
    else:
        # The queue keeps its own clock that never goes back, so that a jump of the host's clock reorders nothing.
        sql = (
            "UPDATE queues SET last_at = CASE WHEN last_at > ? THEN last_at ELSE ? END "
            f"WHERE entity = ? AND name = ? RETURNING {QUEUES.columns}, id, last_at"
        )
        row = tx.row(sql, now, now, ref.entity, ref.name)
    if row is None:
        find_queue(tx, ref)  # says which queues there are
    assert row is not None
    return row[-2], load_queue(row[:-1]), row[-1]


def _add(
    tx: Tx, items: Sequence[NewItem], arrivals: dict[QueueRef, tuple[int, Queue, float]], now: float
) -> tuple[Run, ...]:
    runs = [item.queued(arrivals[item.queue][1], now) for item in items]
    rows: list[tuple[Any, ...]] = []
    for place, (item, position) in enumerate(zip(items, insert_runs(tx, runs), strict=True)):
        if position is None:
            runs[place] = get_run(tx, item.run_id)
            continue
        needs, failed = _needs(tx, item) if item.spec.depends_on else ([], None)
        if failed is not None:
            end = RunUpdate(state=RunState.KILLED, reason=dependency_reason(failed))
            runs[place] = change_run(tx, runs[place], end, now)
            continue
        if needs:
            tx.many("INSERT INTO item_needs (run_id, needs) VALUES (?, ?)", [(item.run_id, need) for need in needs])
            tx.many("UPDATE items SET needed = 1 WHERE run_id = ?", [(need,) for need in needs])
        queue_id, queue, arrival = arrivals[item.queue]
        row = _row(item, queue, now, blocked=bool(needs))
        rows.append((queue_id, arrival + rank(0.0, item.priority, prioritized=queue.prioritized), position, *row))
        tx.topics.add(topic(item.queue))
    if rows:
        tx.many(f"INSERT INTO items (queue_id, rank, pos, {_COLUMNS}) VALUES ({marks(len(rows[0]))})", rows)
    return tuple(runs)


_COLUMNS = "run_id, status, priority, author, owner, rate, expires_at, deadline_at"


def _row(item: NewItem, queue: Queue, now: float, *, blocked: bool = False) -> tuple[Any, ...]:
    policy = effective_policy(item.spec.policy, queue.policy)
    leave_at = now + policy.queue_timeout if policy.queue_timeout is not None else 0.0
    deadline_at = now + policy.deadline if policy.deadline is not None else 0.0
    return (
        item.run_id,
        BLOCKED if blocked else WAITING,
        item.priority,
        item.author,
        item.entity or queue.entity,
        hourly_rate(queue, item.spec),
        min((end for end in (leave_at, deadline_at) if end), default=0.0),
        deadline_at,
    )


class Arrivals:
    """Puts single requests on their queues in one statement. Only PostgreSQL knows it.

    What a request becomes depends on its queue, which is remembered; the statement does nothing when the queue is not
    what it was.
    """

    def __init__(self, known: KnownQueues) -> None:
        self._known = known

    def add(self, tx: Tx, item: NewItem, now: float) -> Run | None:
        """The new run. None, with nothing changed, when `enqueue` must have a look: the run id is taken, say."""
        queue_id, queue = self._known.get(tx, item.queue)
        run = item.queued(queue, now)
        shift = rank(0.0, item.priority, prioritized=queue.prioritized)
        columns = (RUNS.dump_field(name, getattr(run, name)) for name in _GIVEN)
        values = (queue_id, queue.updated_at, *columns, shift, *_row(item, queue, now))
        try:
            added = tx.run(_ADD, *values)
        except KeyTakenError:  # asking ahead (ON CONFLICT) would cost each new run as much as an index
            return None
        if not added:
            self._known.forget(item.queue)
            return None
        tx.topics.add(topic(item.queue))
        return run


_GIVEN = (
    *("id", "name", "entity", "project", "state", "queue", "job", "author", "priority", "resource"),
    *("config", "spec", "created_at", "queued_at"),
)
"""What `NewItem.queued` gives; the other columns have their defaults."""
_ADD = (
    # As in `_arrive`: those who submit do not wait for each other, and the server's clock tells who was first.
    f"WITH queue AS (SELECT id FROM queues WHERE {UNCHANGED} FOR KEY SHARE), "
    f"run AS (INSERT INTO runs ({', '.join(_GIVEN)}) SELECT {marks(len(_GIVEN))} FROM queue "
    "RETURNING seq) "
    f"INSERT INTO items (queue_id, rank, pos, {_COLUMNS}) "
    "SELECT queue.id, extract(epoch FROM clock_timestamp())::float8 + ?::float8, run.seq, "
    f"{marks(len(_COLUMNS.split(',')))} FROM queue, run"
)


def _needs(tx: Tx, item: NewItem) -> tuple[list[str], Run | None]:
    """The runs that must still finish, or one that can't any more."""
    needs = []
    for run_id in dict.fromkeys(item.spec.depends_on):
        try:
            run = get_run(tx, run_id, lock=True)
        except RunNotFoundError:
            run = None
        if run is None or run.id == item.run_id:
            raise RunNotFoundError(
                f"run '{item.run_id}' depends on '{run_id}', which does not exist",
                where="depends_on",
                hint="Put it on a queue first, or before this one in the same call.",
            )
        if run.state.is_terminal and run.state is not RunState.FINISHED:
            return [], run
        if not run.state.is_terminal:
            needs.append(run_id)
    return needs, None
