"""Putting requests on queues."""

from __future__ import annotations

from collections.abc import Sequence

from windlass.errors import RunNotFoundError, UsageError
from windlass.launch.policy import effective_policy
from windlass.models.queue import NewItem, Queue, QueueRef, queue_name_in
from windlass.models.run import Run, RunState, RunUpdate
from windlass.schedule.costs import hourly_rate
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.claims import QUEUES, find_queue, load_queue
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.items import BLOCKED, WAITING, rank
from windlass_metastore_sql.runs import change_run, check_id, dependency_reason, get_run, insert_run


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
    return tuple(_add(tx, item, *arrivals[item.queue], now) for item in items)


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


def _add(tx: Tx, item: NewItem, queue_id: int, queue: Queue, arrival: float, now: float) -> Run:
    run = Run(
        id=item.run_id,
        name=item.name or item.run_id,
        entity=item.entity or queue.entity,
        project=item.project,
        state=RunState.QUEUED,
        queue=queue_name_in(item.queue, item.entity or queue.entity),
        job=item.spec.job,
        author=item.author,
        priority=item.priority,
        resource=item.spec.resource or queue.resource,
        config=item.config,
        spec=item.spec,
        created_at=now,
        queued_at=now,
    )
    position = insert_run(tx, run)
    if position is None:
        return get_run(tx, item.run_id)
    needs, failed = _needs(tx, item) if item.spec.depends_on else ([], None)
    if failed is not None:
        return change_run(tx, run, RunUpdate(state=RunState.KILLED, reason=dependency_reason(failed)), now)
    if needs:
        tx.many("INSERT INTO item_needs (run_id, needs) VALUES (?, ?)", [(run.id, need) for need in needs])
    policy = effective_policy(item.spec.policy, queue.policy)
    leave_at = now + policy.queue_timeout if policy.queue_timeout is not None else 0.0
    deadline_at = now + policy.deadline if policy.deadline is not None else 0.0
    tx.run(
        "INSERT INTO items (run_id, queue_id, status, priority, rank, pos, author, owner, rate, expires_at, "
        "deadline_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        run.id,
        queue_id,
        BLOCKED if needs else WAITING,
        item.priority,
        rank(arrival, item.priority, prioritized=queue.prioritized),
        position,
        item.author,
        run.entity,
        hourly_rate(queue, item.spec),
        min((end for end in (leave_at, deadline_at) if end), default=0.0),
        deadline_at,
    )
    tx.topics.add(topic(item.queue))
    return run


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
