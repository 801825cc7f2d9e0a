"""Runs that are bound to a machine, and agents that are forgotten."""

from __future__ import annotations

import time
from typing import Any

import pytest

from windlass.models.launch import LaunchPolicy
from windlass.models.run import RunState

SCRIPT = "echo $WINDLASS_ATTEMPT >> {mark}; echo on; [ $WINDLASS_ATTEMPT = 2 ] || sleep 60"


@pytest.fixture
def hasty(make_world: Any) -> Any:
    """A world whose leases last 0.3 seconds, so ten of them are soon over."""
    return make_world(lease=0.3)


@pytest.mark.parametrize("budget", [0, 1])
def test_a_host_that_is_gone(hasty: Any, budget: int) -> None:
    """After ten leases an agent elsewhere takes the run: next attempt if the budget allows, else it is over."""
    world = hasty
    world.queue("bound", policy=LaunchPolicy(retries={"infrastructure": budget}, retry_delay=0.0))
    mark = world.marks / "n"
    first = world.spawn("host=here", "queue=bound")
    run_id = world.launch(SCRIPT.format(mark=mark), queue="bound")
    run = world.wait(run_id, lambda run: world.output(run_id) == b"on\n")
    assert run.host == "here"
    second = world.agent(queues=("bound",), host="there")
    time.sleep(1.0)
    assert world.store.runs.get(run_id).agent != second.id, "its own agent renews it"
    first.kill()
    began = time.monotonic()
    run = world.wait(run_id)
    assert time.monotonic() - began > 2.5
    if budget:
        assert (run.state, run.attempt, run.host) == (RunState.FINISHED, 2, "there"), world.log()
        assert mark.read_text().split() == ["1", "2"]
        assert world.output(run_id) == b"on\non\n"
    else:
        assert (run.state, run.attempt, run.reason.code) == (RunState.CRASHED, 1, "agent-lost")
        assert run.reason.context["host"] == "here"


def test_the_same_host_adopts_at_once(hasty: Any) -> None:
    mark = hasty.marks / "n"
    first = hasty.spawn("host=here")
    run_id = hasty.launch(f"echo x >> {mark}; echo on; sleep 2; echo off")
    hasty.wait(run_id, lambda run: hasty.output(run_id) == b"on\n")
    first.kill()
    second = hasty.agent(host="here")
    run = hasty.wait(run_id)
    assert (run.state, run.attempt, run.agent) == (RunState.FINISHED, 1, second.id)
    assert mark.read_text() == "x\n"
    assert hasty.output(run_id) == b"on\noff\n"


def test_an_agent_that_was_forgotten_registers_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass_agent import presence as module

    monkeypatch.setattr(module, "_SAY_EVERY", 0.2)
    agent = world.agent()
    run_id = world.launch("sleep 1.5")
    world.wait(run_id, lambda run: run.state is RunState.RUNNING)
    with world.store._db.write() as tx:
        tx.run("DELETE FROM agents WHERE id = ?", agent.id)
    assert world.wait(run_id).state is RunState.FINISHED
    limit = time.monotonic() + 15
    while agent.id not in {row.id for row in world.store.agents.list("me")}:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert world.wait(world.launch("exit 0")).state is RunState.FINISHED
