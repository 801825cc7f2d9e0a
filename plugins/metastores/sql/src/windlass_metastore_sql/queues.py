"""Queues, what is put on them, and waiting for it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from attrs import evolve

from windlass.errors import ConflictError, NotFoundError, RunNotFoundError, UsageError
from windlass.metastore import QueueStore
from windlass.models.queue import Claim, ClaimRequest, Lease, NewItem, Queue, QueueRef, QueueStatus, Renewal
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState, RunUpdate
from windlass_metastore_sql import claims
from windlass_metastore_sql.agents import live_agents
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.database import Database, Tx, marks
from windlass_metastore_sql.items import BLOCKED, CLAIMED, WAITING, rank
from windlass_metastore_sql.leases import extend, give_back
from windlass_metastore_sql.rows import Mapper, assignments
from windlass_metastore_sql.runs import change_run, check_id, dependency_reason, get_run, insert_run

QUEUES = Mapper(Queue)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class SqlQueues(QueueStore):
    """Queues in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create(self, queue: Queue) -> Queue:
        """See `QueueStore.create`."""
        if not _NAME.fullmatch(queue.name):
            raise UsageError(f"{queue.name!r} cannot be a queue name", hint="1 to 64 letters, digits, '_', '.', '-'.")
        now = self._db.now()
        queue = evolve(queue, created_at=now, updated_at=now)
        sql = (
            f"INSERT INTO queues ({QUEUES.columns}) VALUES ({marks(len(QUEUES.names))}) "
            "ON CONFLICT (entity, name) DO NOTHING"
        )
        with self._db.write() as tx:
            if not tx.run(sql, *QUEUES.dump(queue)):
                raise ConflictError(
                    f"there is a queue '{queue.name}' in '{queue.entity}' already",
                    hint="Choose another name, or change it: `windlass queue update`.",
                )
        return queue

    def get(self, ref: QueueRef) -> Queue:
        """See `QueueStore.get`."""
        with self._db.read() as tx:
            return find_queue(tx, ref)[1]

    def list(self, entity: str = "") -> tuple[Queue, ...]:
        """See `QueueStore.list`."""
        where, values = ("WHERE entity = ? ", (entity,)) if entity else ("", ())
        with self._db.read() as tx:
            rows = tx.rows(f"SELECT {QUEUES.columns} FROM queues {where}ORDER BY entity, name", *values)
        return tuple(QUEUES.load(row) for row in rows)

    def update(self, queue: Queue) -> Queue:
        """See `QueueStore.update`."""
        with self._db.write() as tx:
            queue_id, old = find_queue(tx, _ref(queue), lock=True)
            if queue.updated_at != old.updated_at:
                raise ConflictError(
                    f"queue '{queue.name}' was changed by somebody else meanwhile",
                    hint="Read it again, then change it.",
                )
            new = evolve(queue, created_at=old.created_at, updated_at=max(self._db.now(), old.updated_at + 1e-3))
            changed = QUEUES.changed(old, new)
            tx.run(f"UPDATE queues SET {assignments(list(changed))} WHERE id = ?", *changed.values(), queue_id)
            if old.prioritized != new.prioritized:
                for priority in range(4):
                    shift = rank(0, priority, prioritized=new.prioritized) - rank(
                        0, priority, prioritized=old.prioritized
                    )
                    tx.run(
                        "UPDATE items SET rank = rank + ? WHERE queue_id = ? AND priority = ?",
                        shift,
                        queue_id,
                        priority,
                    )
            tx.topics.add(topic(_ref(queue)))
        return new

    def delete(self, ref: QueueRef, force: bool = False) -> None:
        """See `QueueStore.delete`. Runs at work are never left without their queue: they are a `ConflictError`."""
        with self._db.write() as tx:
            queue_id, _ = find_queue(tx, ref, lock=True)
            items = tx.rows("SELECT run_id, status FROM items WHERE queue_id = ?", queue_id)
            busy = sum(1 for _, status in items if status == CLAIMED)
            if busy or (items and not force):
                raise ConflictError(
                    f"queue '{ref.name}' holds {len(items)} runs that are not over, {busy} of them at work",
                    hint="Stop those at work first." if busy else "Use --force to kill the waiting ones.",
                )
            reason = Reason(code="queue-deleted", message=f"queue '{ref.name}' was deleted")
            for run_id, _ in items:
                run = get_run(tx, run_id, lock=True)
                if not run.state.is_terminal:  # it may have gone with another one that it depended on
                    change_run(tx, run, RunUpdate(state=RunState.KILLED, reason=reason), self._db.now())
            tx.run("DELETE FROM turns WHERE queue_id = ?", queue_id)
            tx.run("DELETE FROM queues WHERE id = ?", queue_id)

    def status(self, ref: QueueRef) -> QueueStatus:
        """See `QueueStore.status`."""
        with self._db.read() as tx:
            queue_id, _ = find_queue(tx, ref)
            counts: dict[str, int] = dict(
                tx.rows(
                    "SELECT runs.state, count(*) FROM items JOIN runs ON runs.id = items.run_id "
                    "WHERE items.queue_id = ? GROUP BY runs.state",
                    queue_id,
                )
            )
            agents = sum(1 for agent in live_agents(tx, self._db.now()) if ref in agent.queues)
        return QueueStatus(
            queued=counts.get("queued", 0),
            pending=counts.get("pending", 0),
            running=counts.get("running", 0),
            agents=agents,
        )

    def enqueue(self, items: Sequence[NewItem]) -> tuple[Run, ...]:
        """See `QueueStore.enqueue`."""
        for item in items:
            check_id(item.run_id)
            if not 0 <= item.priority <= 3:
                raise UsageError(f"{item.priority} is no priority", where=item.run_id, hint="0 (critical) to 3 (low).")
        with self._db.write() as tx:
            arrivals: dict[QueueRef, tuple[int, Queue, float]] = {}
            for ref in sorted({item.queue for item in items}, key=topic):  # one order of locks for everybody
                arrivals[ref] = self._arrive(tx, ref)
            return tuple(self._enqueue(tx, item, *arrivals[item.queue]) for item in items)

    def _arrive(self, tx: Tx, ref: QueueRef) -> tuple[int, Queue, float]:
        # The queue keeps its own clock that never goes back, so that a jump of the host's clock reorders nothing.
        queue_id, queue = find_queue(tx, ref, lock=True)
        now = self._db.now()
        row = tx.row(
            "UPDATE queues SET last_at = CASE WHEN last_at > ? THEN last_at ELSE ? END WHERE id = ? RETURNING last_at",
            now,
            now,
            queue_id,
        )
        assert row is not None
        return queue_id, queue, row[0]

    def _enqueue(self, tx: Tx, item: NewItem, queue_id: int, queue: Queue, arrival: float) -> Run:
        now = self._db.now()
        run = Run(
            id=item.run_id,
            name=item.name or item.run_id,
            entity=item.entity or queue.entity,
            project=item.project,
            state=RunState.QUEUED,
            queue=queue.name,
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
        needs, failed = _needs(tx, item)
        if failed is not None:
            return change_run(tx, run, RunUpdate(state=RunState.KILLED, reason=dependency_reason(failed)), now)
        tx.many("INSERT INTO item_needs (run_id, needs) VALUES (?, ?)", [(run.id, need) for need in needs])
        tx.run(
            "INSERT INTO items (run_id, queue_id, status, priority, rank, pos, author) VALUES (?, ?, ?, ?, ?, ?, ?)",
            run.id,
            queue_id,
            BLOCKED if needs else WAITING,
            item.priority,
            rank(arrival, item.priority, prioritized=queue.prioritized),
            position,
            item.author,
        )
        tx.topics.add(topic(item.queue))
        return run

    def claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        """See `QueueStore.claim`."""
        self._db.bells.looking(request.queues)
        with self._db.read() as tx:  # an idle agent shall not stand in line with the writers
            queues = [find_queue(tx, ref) for ref in dict.fromkeys(request.queues)]
            if request.limit <= 0 or not claims.anything(tx, [number for number, _ in queues], self._db.now()):
                return ()
        with self._db.write(durable=False) as tx:
            queues = [find_queue(tx, ref) for ref in dict.fromkeys(request.queues)]
            return claims.claim(tx, request, queues, self._db.now())

    def renew(self, agent: str, leases: Sequence[Lease], lease_seconds: float) -> Renewal:
        """See `QueueStore.renew`."""
        with self._db.write(durable=False) as tx:
            return extend(tx, agent, leases, lease_seconds, self._db.now())

    def release(self, lease: Lease, delay: float, changes: RunUpdate, next_attempt: bool) -> Run:
        """See `QueueStore.release`."""
        with self._db.write() as tx:
            return give_back(tx, lease, delay, changes, next_attempt=next_attempt, now=self._db.now())

    def wait(self, queues: Sequence[QueueRef], timeout: float) -> bool:
        """See `QueueStore.wait`."""
        refs = tuple(queues)
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._db.read() as tx:
                numbers = [find_queue(tx, ref)[0] for ref in refs]
                due = claims.next_due(tx, numbers, self._db.now()) - self._db.now()
            # Bells tell of everything that somebody does; the look once a second is for what only time brings,
            # and for a ring that was lost.
            if self._db.bells.wait(refs, max(min(left, due, 1.0), 0.001)):
                return True
            with self._db.read() as tx:
                if claims.anything(tx, numbers, self._db.now()):
                    return True


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


def find_queue(tx: Tx, ref: QueueRef, *, lock: bool = False) -> tuple[int, Queue]:
    """A queue and its number. Raises `NotFoundError` naming the queues there are."""
    sql = f"SELECT {QUEUES.columns}, id FROM queues WHERE entity = ? AND name = ?{' {lock}' if lock else ''}"
    row = tx.row(sql, ref.entity, ref.name)
    if row is not None:
        return int(row[-1]), claims.load_queue(row)
    names = [name for (name,) in tx.rows("SELECT name FROM queues WHERE entity = ? ORDER BY name LIMIT 20", ref.entity)]
    raise NotFoundError(
        f"there is no queue '{ref.name}' in '{ref.entity}'",
        hint=f"Queues there: {', '.join(names)}." if names else f"Make one: windlass queue create {ref.name} …",
        context={"queue": ref.name, "entity": ref.entity, "there": names},
    )


def _ref(queue: Queue) -> QueueRef:
    return QueueRef(entity=queue.entity, name=queue.name)
