"""Queues, what is put on them, and waiting for it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from attrs import evolve

from windlass.errors import ConflictError, UsageError
from windlass.metastore import QueueStore
from windlass.models.queue import Claim, ClaimRequest, Lease, NewItem, Queue, QueueRef, QueueStatus, Renewal, Waiting
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState, RunUpdate
from windlass_metastore_sql import claims, line
from windlass_metastore_sql.agents import live_agents
from windlass_metastore_sql.arrivals import Arrivals, check_items, enqueue
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.claims import find_queue
from windlass_metastore_sql.database import Database, marks
from windlass_metastore_sql.explaining import explain
from windlass_metastore_sql.items import CLAIMED, rank
from windlass_metastore_sql.known import KnownQueues
from windlass_metastore_sql.leases import extend, give_back
from windlass_metastore_sql.queue_table import QUEUES
from windlass_metastore_sql.rows import assignments
from windlass_metastore_sql.run_table import get_run
from windlass_metastore_sql.runs import change_run
from windlass_metastore_sql.tending import tend

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LOOK_EVERY = 0.5
"""Seconds for which a busy process takes what is first in line without a look at what time has brought."""
_LOOKS = 1000


class SqlQueues(QueueStore):
    """Queues in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known = KnownQueues()
        self._looks: dict[tuple[QueueRef, ...], float] = {}
        self._arrivals = Arrivals(self._known)
        self._was_something = False  # the last claim found something, so it is worth standing in line for the next

    def create(self, queue: Queue) -> Queue:
        """See `QueueStore.create`."""
        if not _NAME.fullmatch(queue.name):
            raise UsageError(f"{queue.name!r} cannot be a queue name", hint="1 to 64 letters, digits, '_', '.', '-'.")
        _check(queue)
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
        _check(queue, self.get(_ref(queue)))
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

    def explain(self, run_id: str) -> Waiting:
        """See `QueueStore.explain`."""
        with self._db.read() as tx:
            return explain(tx, run_id, self._db.now())

    def enqueue(self, items: Sequence[NewItem]) -> tuple[Run, ...]:
        """See `QueueStore.enqueue`."""
        check_items(items)
        if not self._db.one_writer and len(items) == 1 and not items[0].spec.depends_on:
            with self._db.single() as tx:
                if run := self._arrivals.add(tx, items[0], self._db.now()):
                    return (run,)
        with self._db.write() as tx:
            return enqueue(tx, items, self._db.now())

    def claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        """See `QueueStore.claim`."""
        if request.limit > 0:  # who looks for no work must not miss the ring of a stop either
            self._db.bells.looking(request.queues)
        short = not (self._db.one_writer or request.capacity or request.run or request.limit <= 0)
        if short and (taken := self._take(request)):
            return taken
        if request.limit <= 0:  # an agent with enough to do: it looks after what time brings
            with self._db.read() as tx:
                if not claims.look_ahead(tx, self._db.now()).untended:
                    return ()
        elif short or not self._was_something:
            with self._db.read() as tx:  # an idle agent shall not stand in line with the writers
                queues = [self._known.read(tx, ref) for ref in dict.fromkeys(request.queues)]
                if not claims.anything(tx, [number for number, _ in queues], self._db.now()):
                    return ()
        with self._db.write(durable=False) as tx:
            now = self._db.now()
            ahead = claims.look_ahead(tx, now)
            if ahead.untended:
                tend(tx, now)
            queues = [find_queue(tx, ref) for ref in dict.fromkeys(request.queues)]
            found = claims.claim(tx, request, queues, ahead, now)
        self._was_something = bool(found)
        return found

    def _take(self, request: ClaimRequest) -> tuple[Claim, ...]:
        """What is first in the line of each queue; nothing when that is not all there is to it."""
        found: list[Claim] = []
        with self._db.single() as tx:
            now = self._db.now()
            queues = [self._known.get(tx, ref) for ref in dict.fromkeys(request.queues)]
            if now >= self._looks.get(request.queues, 0.0):
                if line.due(tx, queues, now):
                    return ()
                if len(self._looks) >= _LOOKS:
                    self._looks.clear()
                # A claim that is made now may end before the next look.
                self._looks[request.queues] = now + min(_LOOK_EVERY, request.lease_seconds)
            for number, queue in queues:
                if not line.is_plain(queue):
                    break  # what was taken is ours already; the rest is for the next time
                found += line.take(tx, request, number, queue, request.limit - len(found), now)
                if len(found) >= request.limit:
                    break
        return tuple(found)

    def renew(self, agent: str, leases: Sequence[Lease], lease_seconds: float) -> Renewal:
        """See `QueueStore.renew`."""
        with self._db.write(durable=False) as tx:
            return extend(tx, agent, leases, lease_seconds, self._db.now())

    def release(self, lease: Lease, delay: float, changes: RunUpdate, next_attempt: bool) -> Run:
        """See `QueueStore.release`."""
        with self._db.write() as tx:
            self._looks.clear()  # what is given back comes before the line at once
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


def _check(queue: Queue, old: Queue | None = None) -> None:
    from windlass.launch.definition import check_definition  # much is imported for it, and few define queues

    check_definition(queue, old)


def _ref(queue: Queue) -> QueueRef:
    return QueueRef(entity=queue.entity, name=queue.name)
