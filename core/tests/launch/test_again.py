"""Launching again what runs ran: what they wait for, and runs that had no queue."""

from __future__ import annotations

from itertools import pairwise

import pytest
from attrs import evolve

from windlass.errors import UsageError
from windlass.launch.again import dead_letters, in_order, launch_again
from windlass.launch.private import discard, was_private
from windlass.launch.submit import LaunchRequest, submit
from windlass.models.queue import ClaimRequest, NewItem, Queue, QueueRef
from windlass.models.reason import Reason
from windlass.models.run import RunState, RunUpdate
from windlass.plugins.app import App

REF = QueueRef(entity="team", name="k")


@pytest.fixture
def launch(world, code):
    """Puts a run on the queue ``k``, behind others."""
    world.store.queues.create(Queue(entity="team", name="k", resource="bare"))

    def one(name, *after):
        return submit(LaunchRequest(uri=str(code), queue="k", name=name, run_id=name, depends_on=after), **world.given)

    return one


def end(world, state=RunState.FINISHED):
    """Ends all that waits for nothing."""
    for claim in world.store.queues.claim(ClaimRequest(agent="x", queues=(REF,), limit=9)):
        update = RunUpdate(state=state, reason=Reason(code="exit-code"))
        world.store.runs.update(claim.run.id, update, fence=claim.run.fence)


def dead(world):
    return in_order(world.store, [run.id for run in dead_letters(world.store, "team", queue="k")])


def test_triggers_that_led_to_a_run_have_led_to_what_follows_from_it(world, launch, code):
    notes = {"trigger": "a", "trigger_chain": ["team/b", "team/a"]}
    world.store.queues.create(Queue(entity="team", name="other", resource="bare"))
    launch("first")
    old = world.store.runs.get("first")
    item = NewItem(run_id="old", queue=REF, spec=old.spec, entity="team", config={"_windlass": notes})
    world.store.queues.enqueue([item])
    end(world, RunState.FAILED)
    again, _ = launch_again(world.store, "old")
    assert again.config["_windlass"] == {"retry_of": "old", "trigger_chain": ["team/b", "team/a"]}
    app = world.given["app"]
    inside = App(app.settings.replace(run_id="old"))
    made = submit(LaunchRequest(uri=str(code), queue="k"), **{**world.given, "app": inside})
    assert made.config == {"_windlass": {"trigger_chain": ["team/b", "team/a"]}}
    elsewhere = App(app.settings.replace(run_id="another-stores"))
    assert submit(LaunchRequest(uri=str(code), queue="k"), **{**world.given, "app": elsewhere}).config == {}


def test_a_chain_of_dead_letters_stays_a_chain(world, launch):
    launch("a"), launch("b", "a"), launch("c", "b", "a")
    end(world, RunState.FAILED)
    for round_ in ("-r", "-r-r"):
        for run_id in dead(world):
            launch_again(world.store, run_id, once=True)
        assert world.store.runs.get(f"c{round_}").spec.depends_on == (f"b{round_}", f"a{round_}")
        assert world.store.runs.get(f"c{round_}").state is RunState.QUEUED
        end(world, RunState.FAILED if round_ == "-r" else RunState.FINISHED)
    end(world), end(world)
    assert world.store.runs.get("c-r-r").state is RunState.FINISHED


def test_retries_are_looked_for_among_runs_of_the_same_job(world, launch, monkeypatch):
    launch("a"), launch("b", "a")
    end(world, RunState.FAILED)
    launch_again(world.store, "a")
    asked, listed = [], world.store.runs.list
    monkeypatch.setattr(type(world.store.runs), "list", lambda _, where: asked.append(where) or listed(where))
    again, _ = launch_again(world.store, "b")
    (where,) = asked
    assert (where.queue, where.job) == ("k", world.store.runs.get("a").job)
    assert where.job
    assert again.spec.depends_on != ("a",)


def test_what_failed_and_was_not_launched_again_is_not_waited_for(world, launch):
    launch("a"), launch("b", "a")
    end(world, RunState.FAILED)
    with pytest.raises(UsageError, match="waited for run a, which is failed and was not launched again") as caught:
        launch_again(world.store, "b")
    assert "windlass run retry a b" in caught.value.hint
    named, _ = launch_again(world.store, "a")
    assert launch_again(world.store, "b")[0].spec.depends_on == (named.id,)
    end(world, RunState.FAILED)
    with pytest.raises(UsageError, match=f"waited for run {named.id}"):
        launch_again(world.store, "b", exact=True)
    newest, _ = launch_again(world.store, named.id)
    end(world)
    exact, _ = launch_again(world.store, "b", exact=True)
    assert exact.spec.depends_on == (newest.id,)
    assert exact.config == {"_windlass": {"retry_of": "b"}}
    world.store.runs.delete("a")
    with pytest.raises(UsageError, match="run a, which was deleted"):
        launch_again(world.store, "b")


def test_the_whole_chain_is_named(world, launch):
    launch("a"), launch("b", "a"), launch("c", "b", "a")
    end(world, RunState.FAILED)
    with pytest.raises(UsageError) as caught:
        launch_again(world.store, "c")
    assert "windlass run retry a b c" in caught.value.hint


def test_long_chains_are_told_and_launched_again(world, launch):
    launch("r0")
    spec = world.store.runs.get("r0").spec
    names = [f"r{n}" for n in range(1200)]
    for before, name in pairwise(names):
        item = NewItem(run_id=name, queue=REF, spec=evolve(spec, depends_on=(before,)), entity="team", project="demo")
        world.store.queues.enqueue([item])
    end(world, RunState.FAILED)
    assert world.store.runs.get(names[-1]).state is RunState.KILLED
    assert dead(world) == tuple(names)
    with pytest.raises(UsageError) as caught:
        launch_again(world.store, names[3])
    assert caught.value.hint.endswith("windlass run retry r0 r1 r2 r3")
    with pytest.raises(UsageError) as caught:
        launch_again(world.store, names[-1])
    assert caught.value.hint.endswith("windlass run retry --queue k")


def test_what_finished_is_still_waited_for(world, launch):
    launch("a")
    end(world)
    launch("b", "a")
    end(world, RunState.FAILED)
    assert launch_again(world.store, "b")[0].spec.depends_on == ("a",)
    assert in_order(world.store, ["b", "none", "a", "b"]) == ("a", "b", "none")


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_without_a_queue_is_launched_again_without_one(world, code, gone):
    old = submit(LaunchRequest(uri=str(code), resource="bare"), **world.given)
    world.store.runs.request_stop(old.id)
    assert world.store.runs.get(old.id).state is RunState.KILLED
    if gone:
        discard(old, world.store)
    with pytest.raises(UsageError, match="had no queue") as caught:
        launch_again(world.store, old.id)
    assert old.job in caught.value.hint
    new, made = launch_again(world.store, old.id, here=True)
    assert made
    assert (new.queue, new.resource, new.state) == (f"run-{new.id}", "bare", RunState.QUEUED)
    assert was_private(new, world.store)
    assert list(dead_letters(world.store, "team")) == []
