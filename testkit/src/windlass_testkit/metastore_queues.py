"""The contract of metadata stores: queues and claims."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve

from windlass.errors import ConflictError, FencedError, NotFoundError, UsageError, WindlassError
from windlass.metastore import MetadataStore
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Claim, ClaimRequest, Lease, NewItem, Queue, QueueLimits, QueueRef
from windlass.models.reason import Reason
from windlass.models.run import RunHandle, RunPhase, RunState, RunUpdate
from windlass_testkit.waiting import eventually

SPEC = LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="local/x"))


def make_queue(store: MetadataStore, name: str = "q", **values: Any) -> QueueRef:
    """A queue for a test."""
    store.queues.create(Queue(entity="kit", name=name, resource="process", **values))
    return QueueRef(entity="kit", name=name)


def items(ref: QueueRef, *run_ids: str, depends_on: tuple[str, ...] = (), **values: Any) -> list[NewItem]:
    """Requests for a test."""
    spec = evolve(SPEC, depends_on=depends_on)
    return [NewItem(run_id=run_id, queue=ref, spec=spec, project="contract", **values) for run_id in run_ids]


def claim(store: MetadataStore, *refs: QueueRef, agent: str = "a", **values: Any) -> list[Claim]:
    """What an agent gets."""
    return list(store.queues.claim(ClaimRequest(agent=agent, queues=refs, **values)))


def take(store: MetadataStore, ref: QueueRef, **values: Any) -> Lease:
    """The one claim there must be."""
    (found,) = claim(store, ref, **values)
    return Lease(run_id=found.run.id, fence=found.run.fence)


def ids_of(claims: Sequence[Claim]) -> list[str]:
    """Run ids, in order."""
    return [found.run.id for found in claims]


class QueueTests:
    """Tests of `QueueStore`."""

    def test_queues_are_made_once_and_listed(self, store: MetadataStore) -> None:
        ref = make_queue(store, "b", config={"image": "x"}, limits=QueueLimits(concurrency=3))
        make_queue(store, "a")
        queue = store.queues.get(ref)
        assert queue.created_at > 0
        assert (queue.config, queue.limits.concurrency) == ({"image": "x"}, 3)
        assert [q.name for q in store.queues.list("kit")] == ["a", "b"]
        assert store.queues.list("nobody") == ()
        with pytest.raises(ConflictError):
            make_queue(store, "b")
        with pytest.raises(NotFoundError) as caught:
            store.queues.get(QueueRef(entity="kit", name="zzz"))
        assert "b" in str(caught.value)
        with pytest.raises(UsageError):
            make_queue(store, "not a name")

    def test_an_update_needs_what_was_read(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        read = store.queues.get(ref)
        changed = store.queues.update(evolve(read, description="new", paused=True))
        assert changed.updated_at > read.updated_at
        assert store.queues.get(ref) == changed
        with pytest.raises(ConflictError):
            store.queues.update(evolve(read, description="lost update"))
        assert store.queues.get(ref).description == "new"

    def test_a_queue_with_items_is_deleted_by_force_only(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        with pytest.raises(ConflictError):
            store.queues.delete(ref)
        store.queues.delete(ref, force=True)
        assert store.runs.get("r").state is RunState.KILLED
        with pytest.raises(NotFoundError):
            store.queues.get(ref)

    def test_enqueue_is_repeatable_and_all_or_nothing(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        first = store.queues.enqueue(items(ref, "r1", "r2", author="ada", priority=2))
        assert [(run.id, run.state, run.queue, run.author) for run in first] == [
            ("r1", RunState.QUEUED, "q", "ada"),
            ("r2", RunState.QUEUED, "q", "ada"),
        ]
        assert first[0].resource == "process"
        assert first[0].spec == SPEC
        again = store.queues.enqueue(items(ref, "r1", "r3"))
        assert again[0].author == "ada"
        assert store.queues.status(ref).queued == 3
        nowhere = QueueRef(entity="kit", name="nowhere")
        with pytest.raises(NotFoundError):
            store.queues.enqueue([*items(ref, "r4"), *items(nowhere, "r5")])
        with pytest.raises(NotFoundError):
            store.runs.get("r4")

    def test_items_leave_in_the_order_of_arrival(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        names = [f"r{number}" for number in range(20)]
        for name in names[:10]:
            store.queues.enqueue(items(ref, name))
        store.queues.enqueue(items(ref, *names[10:]))
        assert ids_of(claim(store, ref, limit=3)) == names[:3]
        rest = [ids_of(claim(store, ref))[0] for _ in range(17)]
        assert rest == names[3:]
        assert claim(store, ref) == []

    def test_urgent_items_go_first(self, store: MetadataStore) -> None:
        ref = make_queue(store, prioritized=True)
        for priority in (3, 2, 0, 1, 2):
            store.queues.enqueue(items(ref, f"p{priority}-{store.queues.status(ref).queued}", priority=priority))
        assert ids_of(claim(store, ref, limit=9)) == ["p0-2", "p1-3", "p2-1", "p2-4", "p3-0"]

    def test_a_claim_moves_the_run(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        (found,) = claim(store, ref, agent="me", lease_seconds=30)
        assert (found.run.state, found.run.phase) == (RunState.PENDING, RunPhase.PREPARING)
        assert (found.run.agent, found.run.attempt, found.takeover) == ("me", 1, False)
        assert found.run.fence > 0
        assert found.queue == store.queues.get(ref)
        assert found.lease_until == pytest.approx(store.now() + 30, abs=5)
        assert store.runs.get("r") == found.run
        assert (store.queues.status(ref).queued, store.queues.status(ref).pending) == (0, 1)

    def test_queues_are_tried_in_the_order_given(self, store: MetadataStore) -> None:
        one, two = make_queue(store, "one"), make_queue(store, "two")
        store.queues.enqueue([*items(two, "t"), *items(one, "o")])
        assert ids_of(claim(store, one, two, limit=2)) == ["o", "t"]

    def test_two_agents_never_get_the_same_item(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, *(f"r{number}" for number in range(60))))
        got: list[str] = []

        def work(own: MetadataStore, agent: str) -> None:
            while found := claim(own, ref, agent=agent):
                got.extend(ids_of(found))

        threads = [threading.Thread(target=work, args=(own, f"{i}")) for i, own in enumerate((store, other) * 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == sorted(f"r{number}" for number in range(60))

    def test_a_paused_queue_gives_nothing(self, store: MetadataStore) -> None:
        ref = make_queue(store, paused=True)
        store.queues.enqueue(items(ref, "r"))
        assert claim(store, ref) == []
        store.queues.update(evolve(store.queues.get(ref), paused=False))
        assert ids_of(claim(store, ref)) == ["r"]

    def test_limits_hold(self, store: MetadataStore) -> None:
        ref = make_queue(store, limits=QueueLimits(concurrency=3, per_user=2))
        store.queues.enqueue([*items(ref, "a1", "a2", "a3", author="a"), *items(ref, "b1", "b2", author="b")])
        assert ids_of(claim(store, ref, limit=9)) == ["a1", "a2", "b1"]
        assert claim(store, ref, limit=9) == []
        store.runs.update("a1", RunUpdate(state=RunState.FINISHED))
        assert ids_of(claim(store, ref, limit=9)) == ["a3"]
        assert claim(store, ref, limit=9) == []

    def test_submitters_take_turns_where_that_is_wanted(self, store: MetadataStore) -> None:
        ref = make_queue(store, fair_share=True)
        store.queues.enqueue([*items(ref, "a1", "a2", "a3", author="a"), *items(ref, "b1", "b2", author="b")])
        assert ids_of(claim(store, ref, limit=4)) == ["a1", "b1", "a2", "b2"]

    def test_dependencies_are_waited_for(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue([*items(ref, "first", "other"), *items(ref, "second", depends_on=("first", "other"))])
        assert ids_of(claim(store, ref, limit=9)) == ["first", "other"]
        store.runs.update("first", RunUpdate(state=RunState.FINISHED))
        assert claim(store, ref) == []
        store.runs.update("other", RunUpdate(state=RunState.FINISHED))
        assert ids_of(claim(store, ref)) == ["second"]

    def test_a_failed_dependency_kills_what_waits_for_it(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue([*items(ref, "first"), *items(ref, "second", depends_on=("first",))])
        store.queues.enqueue(items(ref, "third", depends_on=("second",)))
        store.runs.request_stop("first")
        for run_id in ("second", "third"):
            run = store.runs.get(run_id)
            assert run.state is RunState.KILLED
            assert run.reason is not None
            assert run.reason.code == "dependency-failed"
        late = store.queues.enqueue(items(ref, "late", depends_on=("first",)))
        assert late[0].state is RunState.KILLED

    def test_the_end_of_a_long_chain_falls_with_its_first(self, store: MetadataStore) -> None:
        ref, names = make_queue(store), [f"r{n:04}" for n in range(600)]
        chain = [items(ref, name, depends_on=(before,))[0] for before, name in pairwise(names)]
        store.queues.enqueue([*items(ref, names[0]), *chain])
        store.runs.request_stop(names[0])
        assert {store.runs.get(name).state for name in (names[0], names[1], names[-1])} == {RunState.KILLED}
        assert store.queues.status(ref).queued == 0

    def test_a_dependency_must_exist(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        for needs in ("nope", "r"):
            with pytest.raises(WindlassError):
                store.queues.enqueue(items(ref, "r", depends_on=(needs,)))
        assert store.queues.status(ref).queued == 0

    def test_renewal_keeps_a_claim(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        lease = take(store, ref, lease_seconds=0.4)
        for _ in range(4):
            time.sleep(0.15)
            assert store.queues.renew("a", (lease,), 0.4).lost == ()
            assert claim(store, ref, agent="b") == []
        store.runs.request_stop("r")
        assert store.queues.renew("a", (lease,), 0.4).stop == ("r",)
        store.runs.update("r", RunUpdate(state=RunState.KILLED), fence=lease.fence)
        assert store.queues.renew("a", (lease,), 0.4).lost == ("r",)

    def test_an_ended_claim_is_taken_over(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        lease = take(store, ref, lease_seconds=0.2)
        handle = RunHandle(runner="process", id="r", data={"pid": 1})
        store.runs.update("r", RunUpdate(state=RunState.RUNNING, handle=handle), fence=lease.fence)
        store.queues.enqueue(items(ref, "waiting"))
        time.sleep(0.3)
        (found,) = claim(store, ref, agent="b")
        assert (found.run.id, found.takeover, found.run.state) == ("r", True, RunState.RUNNING)
        assert found.run.handle == handle
        assert found.run.fence > lease.fence
        assert found.run.attempt == 1
        assert store.queues.renew("a", (lease,), 60).lost == ("r",)
        with pytest.raises(FencedError):
            store.runs.update("r", RunUpdate(state=RunState.FAILED), fence=lease.fence)
        with pytest.raises(FencedError):
            store.queues.release(lease, 0.0, RunUpdate(), next_attempt=True)

    def test_a_run_bound_to_a_host_waits_for_it(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        lease = take(store, ref, lease_seconds=0.1, host="here")
        store.runs.update("r", RunUpdate(host="here"), fence=lease.fence)
        time.sleep(0.2)
        assert claim(store, ref, agent="b", host="there") == []
        assert ids_of(claim(store, ref, agent="c", host="here", lease_seconds=0.1)) == ["r"]
        assert ids_of(eventually(lambda: claim(store, ref, agent="b", host="there"))) == ["r"]

    def test_a_retry_goes_to_the_head_with_the_next_attempt(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        first, *_ = store.queues.enqueue(items(ref, "r1", "r2", "r3"))
        lease = take(store, ref)
        handle = RunHandle(runner="process", id="r1")
        running = RunUpdate(state=RunState.RUNNING, host="h", handle=handle, exit_code=1)
        store.runs.update("r1", running, fence=lease.fence)
        reason = Reason(code="preempted")
        released = store.queues.release(lease, 0.0, RunUpdate(reason=reason), next_attempt=True)
        assert (released.state, released.attempt) == (RunState.QUEUED, 2)
        assert (released.handle, released.host, released.exit_code, released.agent) == (None, "", None, "")
        assert released.reason == reason
        assert (released.created_at, released.started_at) == (first.created_at, 0.0)
        assert released.queued_at > first.queued_at, "it waits from now"
        with pytest.raises(FencedError):
            store.runs.update("r1", RunUpdate(notes="x"), fence=lease.fence)
        (found,) = claim(store, ref)
        assert (found.run.id, found.run.attempt, found.takeover) == ("r1", 2, False)
        assert found.run.fence > lease.fence

    def test_a_released_run_waits_for_its_delay(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        released = store.queues.release(take(store, ref), 0.5, RunUpdate(), next_attempt=True)
        assert released.not_before == pytest.approx(store.now() + 0.5, abs=0.4)
        assert claim(store, ref) == []
        assert ids_of(eventually(lambda: claim(store, ref))) == ["r"]

    def test_running_work_is_handed_over_as_it_stands(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r", "waiting"))
        lease = take(store, ref)
        handle = RunHandle(runner="process", id="r", data={"pid": 5})
        store.runs.update("r", RunUpdate(state=RunState.RUNNING, handle=handle), fence=lease.fence)
        store.queues.release(lease, 0.0, RunUpdate(), next_attempt=False)
        (found,) = eventually(lambda: claim(store, ref, agent="b"))
        assert (found.run.id, found.run.attempt, found.run.handle) == ("r", 1, handle)
        assert found.run.fence > lease.fence

    def test_retries_are_remembered_while_it_runs(self, store: MetadataStore) -> None:
        """Whoever takes over a running retry goes on counting where the agent before it was."""
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        why = Reason(code="exit-code", message="it failed", context={"retries": {"exit-code": 1}})
        store.queues.release(take(store, ref), 0.0, RunUpdate(reason=why), next_attempt=True)
        (found,) = claim(store, ref, lease_seconds=0.2)
        store.runs.update("r", RunUpdate(state=RunState.RUNNING), fence=found.run.fence)
        (found,) = eventually(lambda: claim(store, ref, agent="b"))
        assert found.run.reason is not None
        assert (found.run.reason.code, found.run.reason.context) == ("retried", why.context)

    def test_one_run_can_be_taken_up_and_nothing_else(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r1", "r2", "waiting"))
        claim(store, ref, agent="dead", limit=2, lease_seconds=0.2)
        eventually(lambda: store.queues.claim(ClaimRequest(agent="b", queues=(ref,), limit=9, run="r2")))
        assert [store.runs.get(run_id).agent for run_id in ("r1", "r2", "waiting")] == ["dead", "b", ""]
        assert store.queues.claim(ClaimRequest(agent="b", queues=(ref,), limit=9, run="waiting")) == ()

    def test_a_stopped_run_is_not_started_again(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        lease = take(store, ref)
        store.runs.request_stop("r")
        assert store.queues.release(lease, 0.0, RunUpdate(), next_attempt=True).state is RunState.KILLED
        assert claim(store, ref) == []

    def test_waiting_ends_with_a_new_item(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        assert claim(store, ref) == []
        assert not store.queues.wait((ref,), 0.3)

        def reaction(run_id: str) -> float:
            rung: list[float] = []

            def later() -> None:
                time.sleep(0.3)
                rung.append(time.monotonic())
                other.queues.enqueue(items(ref, run_id))

            thread = threading.Thread(target=later)
            thread.start()
            assert store.queues.wait((ref,), 10.0)
            woken = time.monotonic()
            thread.join()
            assert ids_of(claim(store, ref)) == [run_id]
            return woken - rung[0]

        # A busy machine may be late once.
        assert any(reaction(run_id) < 0.5 for run_id in ("r1", "r2", "r3", "r4")), "found by looking, not by the ring"

    def test_nothing_is_missed_between_looking_and_waiting(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        assert claim(store, ref) == []
        other.queues.enqueue(items(ref, "r"))
        began = time.monotonic()
        assert store.queues.wait((ref,), 10.0)
        assert time.monotonic() - began < 5.0
