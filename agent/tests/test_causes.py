"""Each cause of a failure has a budget of retries of its own, on a real engine and with real signals."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchPolicy
from windlass.models.run import RunState
from windlass_testkit.services import PYTHON_IMAGE

IMAGE = JobSource(kind=SourceKind.IMAGE, image=PYTHON_IMAGE)
ALL = {"infrastructure": 1, "preemption": 1, "out-of-memory": 2, "exit-code": 1}


def test_chosen_exit_codes(world: Any) -> None:
    policy = LaunchPolicy(retries={"exit-code": 2}, retry_exit_codes=(7,), retry_delay=0.01)
    world.queue("cq", "process", policy=policy)
    world.agent(queues=("cq",))
    tried = {code: world.wait(world.launch(f"exit {code}", queue="cq")).attempt for code in (7, 8)}
    assert tried == {7: 3, 8: 1}
    killed = world.wait(world.launch("kill -9 $$", queue="cq"))
    assert (killed.attempt, killed.exit_code, killed.reason.code) == (1, 137, "signal")


def test_a_lost_machine_is_no_exit_code(world: Any) -> None:
    world.queue("cq", "process", policy=LaunchPolicy(retries=ALL, retry_delay=0.01))
    world.agent(queues=("cq",))
    script = "if test -e b; then exit 3; elif test -e a; then touch b; exit 3; fi; touch a; sleep 60"
    run_id = world.launch(f"cd {world.marks}; {script}", queue="cq")
    world.wait(run_id, lambda run: (world.marks / "a").exists())
    record = Path(world.home / "runs" / run_id / "record")
    os.kill(int(record.read_text().split()[0]), signal.SIGKILL)
    run = world.wait(run_id)
    assert (run.state, run.attempt, run.exit_code) == (RunState.FAILED, 3, 3), run.reason
    assert run.reason.context["retries"] == {"infrastructure": 1, "exit-code": 1}
    assert "1 of 1 for infrastructure, 1 of 1 for exit-code" in run.reason.hint


@pytest.mark.service("docker", "python-image")
@pytest.mark.timeout(120)
def test_memory_has_its_own_budget(world: Any) -> None:
    policy = LaunchPolicy(retries=ALL, retry_delay=0.01)
    world.queue("dq", "docker", policy=policy, config={"memory": "32m"})
    world.agent(queues=("dq",))
    run = world.wait(world.launch("exec python3 -c 'x = bytearray(1 << 30)'", queue="dq", source=IMAGE), seconds=90)
    assert (run.state, run.attempt, run.reason.code) == (RunState.FAILED, 3, "out-of-memory"), run.reason
    assert run.reason.context["retries"] == {"out-of-memory": 2}
