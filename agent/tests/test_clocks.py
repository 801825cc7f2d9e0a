"""The clock of the store is set, by hours, while an agent is at work."""

from __future__ import annotations

import time
from typing import Any

import pytest

from windlass.models.launch import LaunchPolicy
from windlass.models.run import RunState
from windlass_agent.claims import Claims

HOURS = 5 * 3600.0
SHORT = LaunchPolicy(
    queue_timeout=600.0,
    deadline=900.0,
    attempt_timeout=300.0,
    start_timeout=300.0,
    retries={"exit-code": 1},
    retry_delay=0.5,
)


@pytest.mark.parametrize("shift", [HOURS, -HOURS])
def test_nothing_is_lost_by_a_clock_that_is_set(make_world: Any, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(60.0)  # with that the agent finds its own claim over before it renews it
    monkeypatch.setattr(Claims, "renew_soon", lambda _: None)
    real = world.store._db._clock
    world.queue("short", "process", policy=SHORT)
    world.agent(queues=("short",))
    hold = world.launch("while ! test -e stop; do sleep 0.1; done; echo held", queue="short")
    world.wait(hold, lambda run: run.state is RunState.RUNNING)
    world.store._db._clock = lambda: real() + shift
    for _ in range(2):
        run = world.wait(world.launch("exit 0", queue="short"))
        assert run.state is RunState.FINISHED, run.reason
        time.sleep(3.0)
    run = world.store.runs.get(hold)
    assert run.fence == (2 if shift > 0 else 1)
    assert (run.state, run.attempt) == (RunState.RUNNING, 1), run.reason
    (folder,) = world.home.glob(f"work/{hold}/*/source")
    (folder / "stop").touch()
    run = world.wait(hold)
    assert (run.state, run.attempt) == (RunState.FINISHED, 1), run.reason
    assert world.output(hold) == b"held\n"
    run = world.wait(world.launch("exit 3", queue="short"))
    assert (run.state, run.attempt) == (RunState.FAILED, 2), run.reason
