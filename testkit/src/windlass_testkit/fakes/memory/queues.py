"""Queues and claims in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import evolve

from windlass.errors import ConflictError, NotFoundError, UsageError
from windlass.launch import needs as slots
from windlass.launch.definition import check_definition
from windlass.metastore import QueueStore
from windlass.models.queue import (
    Claim,
    ClaimRequest,
    Lease,
    NewItem,
    Queue,
    QueueRef,
    QueueStatus,
    Renewal,
    Waiting,
)
from windlass.models.reason import Reason
from windlass.models.run import Run, RunPhase, RunState, RunUpdate
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.agents import is_lost
from windlass_testkit.fakes.memory.runs import changed, dependency_failed, needs
from windlass_testkit.fakes.memory.tending import exhausted, explain, put, tend
from windlass_testkit.fakes.memory.world import World

__all__ = ["MemoryQueues", "no_queue"]

HOST_LEASES = 10
"""So many leases must pass before a run that is bound to another host may be taken."""


def no_queue(world: World, ref: QueueRef) -> NotFoundError:
    """The error for a queue that does not exist; names those that do."""
    names = sorted(f"{q.entity}/{q.name}" for q in world.queues)
    return NotFoundError(
        f"there is no queue '{ref.entity}/{ref.name}'",
        hint=f"Queues: {', '.join(names) or 'none'}. Make one: windlass queue create {ref.name}",
        context={"queues": names},
    )


@faulty
class MemoryQueues(QueueStore):
    """See `QueueStore`."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults
        self._seen = 0
        world.enqueue = self._arrive

    def create(self, queue: Queue) -> Queue:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", queue.name):
            raise UsageError(f"{queue.name!r} is no name for a queue", hint="1 to 64 letters, digits, '_', '.', '-'.")
        check_definition(queue)
        ref = QueueRef(entity=queue.entity, name=queue.name)
        with self._world.changing() as now:
            if ref in self._world.queues:
                raise ConflictError(f"the queue '{queue.name}' exists ", hint="Change it: windlass queue update.")
            self._world.queues[ref] = evolve(queue, created_at=now, updated_at=now)
            return self._world.queues[ref]

    def get(self, ref: QueueRef) -> Queue:
        with self._world.changing():
            return self._queue(ref)

    def list(self, entity: str = "") -> tuple[Queue, ...]:
        with self._world.changing():
            queues = sorted(self._world.queues.values(), key=lambda q: (q.entity, q.name))
            return tuple(q for q in queues if not entity or q.entity == entity)

    def update(self, queue: Queue) -> Queue:
        ref = QueueRef(entity=queue.entity, name=queue.name)
        check_definition(queue, self.get(ref))
        with self._world.changing(ring=True) as now:
            known = self._queue(ref)
            if known.updated_at != queue.updated_at:
                raise ConflictError(f"the queue '{queue.name}' was changed meanwhile", hint="Read it again.")
            stamp = max(now, known.updated_at + 1e-6)
            self._world.queues[ref] = evolve(queue, created_at=known.created_at, updated_at=stamp)
            return self._world.queues[ref]

    def delete(self, ref: QueueRef, force: bool = False) -> None:
        with self._world.changing(ring=True) as now:
            self._queue(ref)
            ids = [run_id for run_id, item in self._world.items.items() if item.queue == ref]
            if ids and not force:
                raise ConflictError(f"the queue '{ref.name}' holds {len(ids)} items", hint="--force kills the waiting.")
            reason = Reason(code="queue-deleted", message=f"the queue '{ref.name}' was deleted")
            for run_id in ids:
                if not self._world.items[run_id].claimed:
                    kill = RunUpdate(state=RunState.KILLED, reason=reason)
                    changed(self._world, self._world.runs[run_id], kill, now)
            del self._world.queues[ref]

    def status(self, ref: QueueRef) -> QueueStatus:
        with self._world.changing() as now:
            self._queue(ref)
            states = [self._world.runs[i].state for i, item in self._world.items.items() if item.queue == ref]
            live = [a for a in self._world.agents.values() if ref in a.queues and not is_lost(a, now)]
            return QueueStatus(
                queued=states.count(RunState.QUEUED),
                pending=states.count(RunState.PENDING),
                running=states.count(RunState.RUNNING),
                agents=sum(a.state != "stopped" for a in live),
            )

    def enqueue(self, items: Sequence[NewItem]) -> tuple[Run, ...]:
        with self._world.changing(ring=True) as now:
            for item in items:
                self._queue(item.queue)
            known = set(self._world.runs)
            for item in items:
                unknown = [run_id for run_id in item.spec.depends_on if run_id not in known]
                if unknown:
                    raise NotFoundError(f"run '{item.run_id}' waits for '{unknown[0]}', which does not exist")
                known.add(item.run_id)
            for item in items:
                self._arrive(item, now)
            return tuple(self._world.runs[item.run_id] for item in items)

    def explain(self, run_id: str) -> Waiting:
        with self._world.changing() as now:
            return explain(self._world, self._world.run(run_id), now)

    def claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        claims: list[Claim] = []
        with self._world.changing() as now:
            tend(self._world, now)
            for takeover in (True,) if request.run else (True, False):
                for ref in request.queues:
                    queue = self._world.queues.get(ref)
                    while queue is not None and len(claims) < request.limit:
                        run_id = self._expired(ref, request, now) if takeover else self._waiting(queue, request, now)
                        if run_id == "":  # its turn has come, and the agent makes room for it
                            return tuple(claims)
                        if run_id is None:
                            break
                        claims.append(self._take(run_id, queue, request, now, takeover))
        return tuple(claims)

    def renew(self, agent: str, leases: Sequence[Lease], lease_seconds: float) -> Renewal:
        lost, stop = [], []
        with self._world.changing() as now:
            known = self._world.agents.get(agent)
            if known is not None:
                self._world.agents[agent] = evolve(known, heartbeat_at=now)
            for lease in leases:
                run, item = self._world.runs.get(lease.run_id), self._world.items.get(lease.run_id)
                if run is None or item is None or run.fence != lease.fence or run.agent != agent:
                    lost.append(lease.run_id)
                    continue
                item.lease_until, item.lease_seconds = now + lease_seconds, lease_seconds
                if run.stop_requested:
                    stop.append(lease.run_id)
            return Renewal(lost=tuple(lost), stop=tuple(stop), drain=bool(known and known.drain_requested))

    def release(self, lease: Lease, delay: float, changes: RunUpdate, next_attempt: bool) -> Run:
        with self._world.changing(ring=True) as now:
            run = self._world.guarded(lease.run_id, fence=lease.fence, agent=lease.agent or None)
            if run.state.is_terminal:
                raise ConflictError(f"run '{run.id}' is over ({run.state})")
            run = changed(self._world, run, changes, now)
            if run.stop_requested and (next_attempt or run.handle is None):
                reason = Reason(code="stopped-by-user", message="stopped while it went back to its queue")
                return changed(self._world, run, RunUpdate(state=RunState.KILLED, reason=reason), now)
            run = evolve(
                run, state=RunState.QUEUED, phase=RunPhase.NONE, agent="", queued_at=now, not_before=now + delay
            )
            if next_attempt:
                cost = run.cost + self._world.bill(run, now)
                run = evolve(
                    run, attempt=run.attempt + 1, handle=None, host="", exit_code=None, started_at=0.0, cost=cost
                )
            self._world.runs[run.id] = run
            item = self._world.items[run.id]
            item.place, item.lease_until, item.expires_at = -self._world.number(), 0.0, item.deadline_at
            return run

    def wait(self, queues: Sequence[QueueRef], timeout: float) -> bool:
        before = self._seen
        self._seen = self._world.wait_for_bell(before, timeout)
        return self._seen > before

    def _queue(self, ref: QueueRef) -> Queue:
        try:
            return self._world.queues[ref]
        except KeyError:
            raise no_queue(self._world, ref) from None

    def _expired(self, ref: QueueRef, request: ClaimRequest, now: float) -> str | None:
        found = []
        for run_id, item in self._world.items.items():
            run = self._world.runs[run_id]
            patience = HOST_LEASES * item.lease_seconds if run.host and run.host != request.host else 0.0
            wanted = item.queue == ref and request.run in ("", run_id)
            if wanted and item.claimed and item.lease_until + patience <= now:
                found.append((item.lease_until, run_id))
        return min(found)[1] if found else None

    def _waiting(self, queue: Queue, request: ClaimRequest, now: float) -> str | None:
        if queue.paused:
            return None
        ref = QueueRef(entity=queue.entity, name=queue.name)
        items = {run_id: item for run_id, item in self._world.items.items() if item.queue == ref}
        busy = [self._world.runs[run_id].author for run_id, item in items.items() if item.claimed]
        if queue.limits.concurrency is not None and len(busy) >= queue.limits.concurrency:
            return None
        found = []
        for run_id, item in items.items():
            run = self._world.runs[run_id]
            full = queue.limits.per_user is not None and busy.count(run.author) >= queue.limits.per_user
            free = not full and not exhausted(self._world, run, now)
            fits = run.spec is None or slots.fits(request.capacity, queue, run.spec)
            free = free and (fits or self._is_due(run, queue, request, now))
            if not item.claimed and run.not_before <= now and free and self._ready(run):
                turn = busy.count(run.author) if queue.fair_share else 0
                urgency = run.priority if queue.prioritized else 0
                found.append((urgency, turn, item.place, run_id if fits else ""))
        return min(found)[3] if found else None

    def _is_due(self, run: Run, queue: Queue, request: ClaimRequest, now: float) -> bool:
        """Whether smaller ones have overtaken it for long enough, and the agent can hold it at all."""
        agent = self._world.agents.get(request.agent)
        total = (agent.slots if agent else {}) or request.capacity
        waited = run.queued_at + slots.PATIENCE <= now
        return waited and run.spec is not None and slots.fits(total, queue, run.spec)

    def _arrive(self, item: NewItem, now: float) -> Run:
        queue = self._queue(item.queue)
        if item.run_id not in self._world.runs:
            self._add(item, queue, now)
        return self._world.runs[item.run_id]

    def _add(self, item: NewItem, queue: Queue, now: float) -> None:
        run = item.queued(queue, now)
        put(self._world, run, queue, item.queue, now)
        for other in (self._world.runs[i] for i in needs(run)):
            if other.state.is_terminal and other.state is not RunState.FINISHED:
                changed(self._world, run, dependency_failed(other), now)
                return

    def _ready(self, run: Run) -> bool:
        return all(i in self._world.runs and self._world.runs[i].state is RunState.FINISHED for i in needs(run))

    def _take(self, run_id: str, queue: Queue, request: ClaimRequest, now: float, takeover: bool) -> Claim:
        run = evolve(
            self._world.runs[run_id], fence=self._world.runs[run_id].fence + 1, agent=request.agent, claimed_at=now
        )
        if not takeover:
            run = evolve(run, state=RunState.PENDING, phase=RunPhase.PREPARING)
        item = self._world.items[run_id]
        item.lease_until, item.lease_seconds = now + request.lease_seconds, request.lease_seconds
        self._world.runs[run_id] = run
        return Claim(run=run, queue=queue, lease_until=item.lease_until, takeover=takeover)
