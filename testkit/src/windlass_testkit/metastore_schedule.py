"""The contract of metadata stores: triggers, budgets, and waiting that ends."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from attrs import evolve

from windlass.errors import ConfigError, ConflictError, NotFoundError, UsageError
from windlass.metastore import MetadataStore
from windlass.models.artifact import ArtifactVersion, NewVersion, VersionUpdate
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import QueueRef
from windlass.models.run import RunFilter, RunState, RunUpdate
from windlass.models.schedule import Budget, BudgetUnit, Trigger, TriggerEvent
from windlass.schedule.triggers import chain_of
from windlass_testkit.metastore_queues import SPEC, claim, ids_of, items, make_queue, take
from windlass_testkit.metastore_waiting import codes


def make_trigger(store: MetadataStore, ref: QueueRef, **values: Any) -> Trigger:
    """A trigger for a test."""
    spec = evolve(SPEC, run_config={"data": "{{artifact}}", "keep": "{{other}}", "nested": [{"v": "{{version}}"}]})
    given: dict[str, Any] = {"event": TriggerEvent.VERSION, "spec": spec, "author": "ada", "project": "contract"}
    return store.schedule.create_trigger(Trigger(**{"entity": "kit", "name": "t", "queue": ref, **given, **values}))


def publish(store: MetadataStore, number: int, name: str = "data", **values: Any) -> ArtifactVersion:
    """A version with content of that number."""
    given: dict[str, Any] = {"entity": "kit", "project": "p", "type": "dataset", **values}
    digest = f"blake3:{number:064x}"
    return store.artifacts.commit(NewVersion(name=name, digest=digest, manifest=digest, **given)).version


def made(store: MetadataStore) -> list[str]:
    """Ids of the runs there are, oldest first."""
    return [run.id for run in reversed(store.runs.list(RunFilter(limit=1000)))]


class ScheduleTests:
    """Tests of `ScheduleStore`."""

    # -- triggers ---------------------------------------------------------------------------------------------

    def test_a_new_version_makes_one_run(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        trigger = make_trigger(store, ref, artifact_name="da*", artifact_type="dataset")
        assert store.schedule.triggers("kit") == (trigger,)
        publish(store, 1)
        publish(store, 1)  # the same content is no new version
        publish(other, 2, name="else")
        publish(other, 3, name="day", type="model")
        publish(other, 4, name="data", entity="foreign")
        (run_id,) = made(store)
        run = store.runs.get(run_id)
        assert (run.state, run.queue, run.author, run.project) == (RunState.QUEUED, "q", "ada", "contract")
        given = {"data": "kit/p/data:v0", "keep": "{{other}}", "nested": [{"v": "v0"}]}
        assert run.config == {**given, "_windlass": {"trigger": "t", "trigger_chain": ["kit/t"]}}
        assert run.spec is not None
        assert run.spec.run_config == given
        known = store.schedule.get_trigger("kit", "t")
        assert (known.fired, known.last_run, known.error) == (1, run_id, "")
        publish(other, 5)
        assert len(made(store)) == 2

    def test_what_its_own_run_logs_does_not_start_a_trigger_again(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        make_trigger(store, ref)
        make_trigger(store, ref, name="other", event=TriggerEvent.ALIAS, alias="latest")
        publish(store, 1)
        first, second = made(store)
        publish(store, 2, name="result", run=first)
        assert len(made(store)) == 3, "the other trigger is another's business"
        publish(store, 3, name="result", run=second)
        assert len(made(store)) == 4

    def test_triggers_do_not_start_each_other_for_ever(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        make_trigger(store, ref, name="a", artifact_name="in")
        make_trigger(store, ref, name="b", artifact_name="mid", event=TriggerEvent.ALIAS, alias="ready")
        publish(store, 1, name="in")
        (first,) = made(store)
        publish(other, 2, name="mid", run=first, aliases=("ready",))
        second = made(store)[-1]
        assert chain_of(store.runs.get(second).config) == ("kit/a", "kit/b")
        publish(other, 3, name="in", run=second)
        assert made(store) == [first, second]
        error = store.schedule.get_trigger("kit", "a").error
        assert "kit/p/in:v1" in error
        assert "kit/a → kit/b" in error
        # content that was there before: the run that moves the alias counts, not the one that made the version
        publish(store, 4, name="mid")
        publish(store, 2, name="mid", run=second, aliases=("ready",))
        moved = publish(store, 4, name="mid")
        store.artifacts.update(moved.id, VersionUpdate(add_aliases=("ready",), run=second))
        assert made(store) == [first, second]
        store.artifacts.update(moved.id, VersionUpdate(remove_aliases=("ready",)))
        store.artifacts.update(moved.id, VersionUpdate(add_aliases=("ready",)))
        assert len(made(store)) == 3, "moved by hand"
        publish(store, 5, name="in")
        assert len(made(store)) == 4
        assert store.schedule.get_trigger("kit", "a").error == ""

    def test_a_moved_alias_makes_one_run(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        spec = evolve(SPEC, args=("--data", "{{artifact}}", "{{alias}}"))
        make_trigger(store, ref, event=TriggerEvent.ALIAS, alias="prod*", spec=spec)
        first, second = publish(store, 1), publish(store, 2)
        assert made(store) == []
        for _ in range(2):  # it points there already the second time
            store.artifacts.update(first.id, VersionUpdate(add_aliases=("prod",)))
        assert len(made(store)) == 1
        store.artifacts.update(second.id, VersionUpdate(add_aliases=("prod", "other")))
        store.artifacts.update(first.id, VersionUpdate(add_aliases=("prod",)))
        publish(store, 3, aliases=("prod-eu",))
        runs = [store.runs.get(run_id) for run_id in made(store)]
        assert [run.spec.args[1:] for run in runs if run.spec] == [
            ("kit/p/data:v0", "prod"),
            ("kit/p/data:v1", "prod"),
            ("kit/p/data:v0", "prod"),
            ("kit/p/data:v2", "prod-eu"),
        ]

    def test_events_in_a_crowd_make_one_run_each(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        make_trigger(store, ref)
        make_trigger(store, ref, name="too")
        stop = threading.Event()

        def look(at: MetadataStore) -> None:
            while not stop.is_set():
                claim(at, ref, agent="x", limit=0)
                at.queues.claim(_request(ref))

        agents = [threading.Thread(target=look, args=(at,)) for at in (store, other)]
        writers = [
            threading.Thread(target=lambda at=at, base=base: [publish(at, base + n, f"c{base}") for n in range(10)])
            for at, base in ((store, 100), (other, 200))
        ]
        for thread in (*agents, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        for thread in agents:
            thread.join()
        store.queues.claim(_request(ref))
        assert len(made(store)) == 40
        assert {t.fired for t in store.schedule.triggers("kit")} == {20}

    def test_a_schedule_makes_one_run_each_time(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        with pytest.raises(UsageError):
            make_trigger(store, ref, event=TriggerEvent.CRON, cron="61 * * * *")
        with pytest.raises(UsageError):
            make_trigger(store, ref, event=TriggerEvent.CRON, cron="@daily", timezone="Nowhere/Town")
        spec = evolve(SPEC, run_config={"at": "{{scheduled_at}}"})
        trigger = make_trigger(store, ref, event=TriggerEvent.CRON, cron="*/5 * * * *", spec=spec)
        assert 0 < trigger.next_at - store.now() <= 300
        assert trigger.next_at % 300 == 0
        assert claim(store, ref) == []

    def test_a_paused_trigger_makes_nothing(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        make_trigger(store, ref)
        make_trigger(store, ref, name="clock", event=TriggerEvent.CRON, cron="@hourly", spec=SPEC)
        assert store.schedule.pause_trigger("kit", "t", True).paused
        assert store.schedule.pause_trigger("kit", "clock", True).next_at == 0
        publish(store, 1)
        assert made(store) == []
        store.schedule.pause_trigger("kit", "t", False)
        assert store.schedule.pause_trigger("kit", "clock", False).next_at > store.now()
        assert made(store) == [], "what happened meanwhile is not made up for"
        publish(store, 2)
        assert len(made(store)) == 1

    def test_triggers_are_checked_and_found(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        make_trigger(store, ref)
        with pytest.raises(ConflictError):
            make_trigger(store, ref)
        with pytest.raises(NotFoundError):
            make_trigger(store, QueueRef(entity="kit", name="none"), name="u")
        with pytest.raises(UsageError):
            make_trigger(store, ref, name="no name")
        with pytest.raises(UsageError):
            make_trigger(store, ref, name="u", event=TriggerEvent.CRON, cron="@daily")  # means nothing: {{artifact}}
        with pytest.raises(NotFoundError) as caught:
            store.schedule.get_trigger("kit", "u")
        assert "t" in caught.value.hint
        store.schedule.delete_trigger("kit", "t")
        with pytest.raises(NotFoundError):
            store.schedule.delete_trigger("kit", "t")
        publish(store, 1)
        assert made(store) == []

    def test_a_trigger_without_its_queue_tells_and_harms_nobody(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        make_trigger(store, ref)
        store.queues.delete(ref)
        assert publish(store, 1).version == 0
        assert "queue" in store.schedule.get_trigger("kit", "t").error

    # -- budgets ----------------------------------------------------------------------------------------------

    def test_a_budget_holds_items_back(self, store: MetadataStore) -> None:
        ref = make_queue(store, prices={"hour": 3600.0, "gpu": 7200.0}, config={"gpu": 2})
        store.queues.enqueue(items(ref, "r1", "r2", author="ada"))
        store.queues.enqueue(items(ref, "r3", author="bob"))
        store.schedule.set_budget(Budget(entity="kit", user="ada", unit=BudgetUnit.MONEY, limit=0.5))
        lease = take(store, ref)
        store.runs.update("r1", RunUpdate(state=RunState.RUNNING), fence=lease.fence)
        time.sleep(0.2)
        assert ids_of(claim(store, ref)) == ["r3"], "what ada's run at work has cost counts already"
        ended = store.runs.update("r1", RunUpdate(state=RunState.FINISHED), fence=lease.fence)
        assert 0.9 < ended.cost < 100  # 5 a second
        assert store.runs.get("r1").cost == ended.cost
        (budget,) = store.schedule.budgets("kit")
        assert budget.used == pytest.approx(ended.cost, rel=0.01)
        assert claim(store, ref, limit=9) == []
        assert "budget" in codes(store, "r2")
        assert store.queues.explain("r2").starts_in is None
        store.schedule.set_budget(Budget(entity="kit", user="ada", unit=BudgetUnit.MONEY, limit=1e6))
        assert ids_of(claim(store, ref)) == ["r2"]

    def test_a_budget_of_hours_for_everybody(self, store: MetadataStore) -> None:
        ref = make_queue(store, fair_share=True)
        store.queues.enqueue(items(ref, "r1", author="ada"))
        store.queues.enqueue(items(ref, "r2", author="bob"))
        assert store.schedule.set_budget(Budget(entity="kit", limit=0.0)).used == 0.0
        assert claim(store, ref, limit=5) == []
        assert store.schedule.set_budget(Budget(entity="kit", limit=-1.0)).limit < 0
        assert store.schedule.budgets("kit") == ()
        assert len(claim(store, ref, limit=5)) == 2
        for wrong in ({"hour": -1.0}, {"huor": 1.0}):
            with pytest.raises(ConfigError):
                make_queue(store, "free", prices=wrong)

    def test_each_attempt_is_billed(self, store: MetadataStore) -> None:
        ref = make_queue(store, prices={"hour": 3600.0})
        store.queues.enqueue(items(ref, "r"))
        costs = []
        for last in (False, True):
            lease = take(store, ref)
            store.runs.update("r", RunUpdate(state=RunState.RUNNING), fence=lease.fence)
            time.sleep(0.1)
            if last:
                costs.append(store.runs.update("r", RunUpdate(state=RunState.FAILED), fence=lease.fence).cost)
            else:
                costs.append(store.queues.release(lease, 0.0, RunUpdate(), next_attempt=True).cost)
        assert 0.05 < costs[0] < costs[1]

    # -- waiting ends -----------------------------------------------------------------------------------------

    def test_an_item_that_waits_too_long_is_killed(self, store: MetadataStore) -> None:
        ref = make_queue(store, policy=LaunchPolicy(queue_timeout=0.1))
        own = [evolve(item, spec=evolve(SPEC, policy=LaunchPolicy(deadline=0.1))) for item in items(ref, "late")]
        patient = [
            evolve(i, spec=evolve(SPEC, policy=LaunchPolicy(queue_timeout=600.0))) for i in items(ref, "patient")
        ]
        store.queues.enqueue([*items(ref, "r"), *own, *patient])
        time.sleep(0.3)
        assert ids_of(claim(store, ref, limit=9)) == ["patient"]
        for run_id, code in (("r", "queue-timeout"), ("late", "deadline")):
            run = store.runs.get(run_id)
            assert run.reason is not None
            assert (run.state, run.reason.code) in ((RunState.KILLED, code), (RunState.KILLED, "queue-timeout"))
        assert store.queues.status(ref).queued == 0

    def test_who_may_take_nothing_looks_after_time_all_the_same(self, store: MetadataStore) -> None:
        ref = make_queue(store, policy=LaunchPolicy(queue_timeout=0.1))
        store.queues.enqueue(items(ref, "r"))
        time.sleep(0.2)
        assert claim(store, ref, limit=0) == [], "an agent that has all the runs it may have"
        assert store.runs.get("r").state is RunState.KILLED


def _request(ref: QueueRef) -> Any:
    from windlass.models.queue import ClaimRequest

    return ClaimRequest(agent="x", queues=(ref,))
