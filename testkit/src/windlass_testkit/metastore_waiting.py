"""The contract of metadata stores: why a run is not running yet."""

from __future__ import annotations

import time

import pytest
from attrs import evolve

from windlass.errors import ConfigError, RunNotFoundError
from windlass.metastore import MetadataStore
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Agent, QueueLimits, TemplateVariable
from windlass.models.reason import Reason
from windlass.models.run import RunState, RunUpdate
from windlass_testkit.metastore_queues import SPEC, claim, ids_of, items, make_queue, take


def codes(store: MetadataStore, run_id: str) -> set[str]:
    """Why a run is not running."""
    return {reason.code for reason in store.queues.explain(run_id).reasons}


class WaitingTests:
    """Tests of `QueueStore.explain`, and of the definitions that a store refuses."""

    def test_a_run_that_waits_says_for_what(self, store: MetadataStore) -> None:
        ref = make_queue(store, limits=QueueLimits(concurrency=1, per_user=1))
        store.queues.enqueue(items(ref, "r1", "r2", "r3", author="ada"))
        assert {"agent-absent", "behind-others"} <= codes(store, "r2")
        store.agents.register(Agent(id="a", queues=(ref,), max_jobs=1))
        assert codes(store, "r1") == {"next"}
        assert [store.queues.explain(f"r{n}").position for n in (1, 2, 3)] == [1, 2, 3]
        lease = take(store, ref)
        store.agents.heartbeat("a", "running", ["r1"])
        assert codes(store, "r1") == {"phase"}
        assert {"concurrency-limit", "user-limit", "agents-busy"} <= codes(store, "r2")
        why = Reason(code="exit-code", message="it ended with exit code 7")
        store.queues.release(lease, 60.0, RunUpdate(reason=why), next_attempt=True)
        store.agents.heartbeat("a", "polling", ())
        assert codes(store, "r1") == {"back-off"}
        waiting = store.queues.explain("r1")
        assert "exit code 7" in waiting.reasons[0].message
        assert waiting.reasons[0].context["until"] > store.now() + 50
        assert waiting.starts_in is None or waiting.starts_in > 50
        store.queues.update(evolve(store.queues.get(ref), paused=True))
        assert "queue-paused" in codes(store, "r2")
        assert store.queues.explain("r2").starts_in is None
        with pytest.raises(RunNotFoundError):
            store.queues.explain("nothing")

    def test_a_dependency_is_named(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "first"))
        store.queues.enqueue(items(ref, "second", depends_on=("first",)))
        (reason,) = [r for r in store.queues.explain("second").reasons if r.code == "dependency"]
        assert (reason.context["runs"], reason.context["states"]) == (["first"], {"first": "queued"})
        assert "first (queued)" in reason.message
        assert store.queues.explain("second").position == 0

    def test_the_start_is_foretold_from_like_runs(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.agents.register(Agent(id="a", queues=(ref,), max_jobs=1))
        store.queues.enqueue(items(ref, "done"))
        lease = take(store, ref)
        time.sleep(0.3)
        store.runs.update("done", RunUpdate(state=RunState.FINISHED), fence=lease.fence)
        assert store.queues.explain("done").reasons == ()
        store.queues.enqueue(items(ref, "at-work", "r1", "r2"))
        take(store, ref)
        first, second = store.queues.explain("r1"), store.queues.explain("r2")
        assert first.history == 1
        assert first.takes is not None
        assert 0.25 < first.takes < 30
        assert first.starts_in is not None
        assert second.starts_in is not None
        assert first.starts_in <= first.takes
        # The run at work went on between the two questions.
        assert first.takes <= second.starts_in + 0.001 <= first.starts_in + first.takes + 0.002

    def test_other_versions_of_a_job_are_like_it(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.agents.register(Agent(id="a", queues=(ref,), max_jobs=1))

        def enqueue(run_id: str, job: str) -> None:
            store.queues.enqueue([evolve(i, spec=evolve(SPEC, job=job)) for i in items(ref, run_id)])

        enqueue("old", "kit/p/train:v3")
        lease = take(store, ref)
        store.runs.update("old", RunUpdate(state=RunState.FINISHED), fence=lease.fence)
        enqueue("new", "kit/p/train:v10")
        enqueue("other", "kit/p/trainer:v3")
        assert store.queues.explain("new").history == 1
        assert store.queues.explain("other").history == 0

    # -- slots ------------------------------------------------------------------------------------------------

    def test_slots_that_nobody_offers_are_named(self, store: MetadataStore) -> None:
        ref = make_queue(store, config={"slots": {"cpu": 2, "gpu": 2, "memory": "8g"}})
        store.queues.enqueue(items(ref, "r"))
        small = Agent(
            id="s", name="small", queues=(ref,), max_jobs=-1, slots={"cpu": 8.0, "gpu": 1.0, "memory": 2.0**32}
        )
        store.agents.register(small)
        assert store.agents.get("s").slots == small.slots
        waiting = store.queues.explain("r")
        (reason,) = waiting.reasons
        assert (reason.code, waiting.starts_in) == ("slots-missing", None)
        assert "8 GiB memory, 2 gpu" in reason.message
        assert "'small' has 4 GiB memory, 1 gpu" in reason.message
        assert reason.context["needs"] == {"cpu": 2.0, "gpu": 2.0, "memory": 2.0**33}
        (agent,) = reason.context["agents"]
        assert agent["lacks"]["gpu"] == {"needs": 2.0, "free": 1.0, "offers": 1.0}
        assert claim(store, ref, agent="s", capacity=small.slots) == [], "what is said is what happens"
        store.agents.register(Agent(id="big", queues=(ref,), max_jobs=-1, slots={"gpu": 2.0}))
        assert codes(store, "r") == {"next"}, "what an agent does not count it does not refuse"

    def test_slots_that_others_have_are_named_and_awaited(self, store: MetadataStore) -> None:
        ref = make_queue(store, config={"slots": {"gpu": 1}})
        slots = {"cpu": 4.0, "gpu": 1.0}
        store.agents.register(Agent(id="a", name="one", queues=(ref,), max_jobs=-1, slots=slots))
        store.queues.enqueue(items(ref, "done"))
        lease = take(store, ref, capacity=slots)
        time.sleep(0.3)
        store.runs.update("done", RunUpdate(state=RunState.FINISHED), fence=lease.fence)
        store.queues.enqueue(items(ref, "r1", "r2"))
        assert ids_of(claim(store, ref, capacity=slots)) == ["r1"]
        waiting = store.queues.explain("r2")
        (reason,) = waiting.reasons
        assert reason.code == "slots-taken"
        assert "1 gpu; 'one' has 0 gpu free of 1 gpu" in reason.message
        assert waiting.takes is not None
        assert waiting.starts_in is not None
        assert 0 <= waiting.starts_in <= waiting.takes
        assert claim(store, ref, capacity={"cpu": 3.0, "gpu": 0.0}) == [], "what is said is what happens"
        store.agents.register(Agent(id="b", queues=(ref,), max_jobs=0))
        assert codes(store, "r2") == {"slots-taken", "agents-busy"}

    # -- agents, turns, time ----------------------------------------------------------------------------------

    def test_an_agent_that_ends_is_none(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.agents.register(Agent(id="a", queues=(ref,)))
        store.queues.enqueue(items(ref, "r"))
        assert codes(store, "r") == {"next"}
        store.agents.request_drain("a")
        (reason,) = store.queues.explain("r").reasons
        assert reason.code == "agent-absent"
        assert "about to end" in reason.message

    def test_authors_at_their_limit_are_passed_over(self, store: MetadataStore) -> None:
        ref = make_queue(store, limits=QueueLimits(per_user=1))
        store.agents.register(Agent(id="a", queues=(ref,), max_jobs=-1))
        store.queues.enqueue(items(ref, "a1", "a2", "a3", author="ada"))
        store.queues.enqueue(items(ref, "b1", author="bob"))
        assert ids_of(claim(store, ref)) == ["a1"]
        assert store.queues.explain("b1").position == 1
        assert codes(store, "b1") == {"next"}
        (limit,) = [reason for reason in store.queues.explain("a2").reasons if reason.code == "user-limit"]
        assert limit.context == {"at_work": 1, "limit": 1}

    def test_an_item_says_when_its_time_is_over(self, store: MetadataStore) -> None:
        ref = make_queue(store, policy=LaunchPolicy(queue_timeout=0.2))
        store.queues.enqueue(items(ref, "r"))
        left = store.queues.explain("r").expires_in
        assert left is not None
        assert left <= 0.2
        time.sleep(0.3)
        waiting = store.queues.explain("r")
        assert waiting.expires_in == 0
        assert "queue-timeout" in codes(store, "r"), "no agent has looked"
        assert waiting.starts_in is None
        assert claim(store, ref) == []
        assert store.runs.get("r").state is RunState.KILLED

    # -- definitions ------------------------------------------------------------------------------------------

    def test_a_definition_that_does_not_fit_is_refused(self, store: MetadataStore) -> None:
        config = {"env": ["A={{a}}", "B=${HOME}"], "slots": {"cpu": "many"}}
        with pytest.raises(ConfigError) as caught:
            make_queue(store, config=config, limits=QueueLimits(concurrency=0), open_fields=("source",))
        places = sorted(problem.where for problem in caught.value.problems)
        assert places == ["$.env[0]", "$.env[1]", "$.limits.concurrency", "$.open_fields[0]", "$.slots.cpu"]
        assert store.queues.list("kit") == ()
        variable = TemplateVariable(type="integer", default=1)
        ref = make_queue(store, config={"env": ["A={{a}}"]}, templates={"a": variable, "spare": variable})
        old = store.queues.get(ref)
        with pytest.raises(ConfigError, match="not declared"):
            store.queues.update(evolve(old, templates={}))
        assert store.queues.get(ref) == old
        assert store.queues.update(evolve(old, paused=True)).paused
