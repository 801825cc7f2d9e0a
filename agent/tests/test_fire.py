"""Under fire: agents die, freeze and lose their store at every step, and nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

import pytest

from windlass.errors import StoreUnavailableError
from windlass.models.run import RunState
from windlass_agent.faults import Point
from windlass_testkit.waiting import eventually

LINES = b"".join(b"line %d\n" % n for n in range(1, 41))
SCRIPT = "echo $WINDLASS_ATTEMPT >> {mark}; i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.02; done"


def dead(process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    process.wait(seconds)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", list(Point))
def test_kill_at_every_step(world: Any, point: Point) -> None:
    """A second agent finishes what the first began: one execution, every line once."""
    mark = world.marks / "executions"
    first = world.spawn(f"kill={point}")
    run_id = world.launch(SCRIPT.format(mark=mark))
    dead(first)
    world.spawn()
    run = world.wait(run_id)
    assert (run.state, run.attempt, run.exit_code) == (RunState.FINISHED, 1, 0), world.log()
    assert mark.read_text() == "1\n"
    assert world.output(run_id) == LINES
    # what the dead agent left is cleared up
    eventually(lambda: not [*(world.home / "runs").iterdir(), *(world.home / "work").iterdir()], 10)


def test_kill_while_a_second_agent_waits(world: Any) -> None:
    mark = world.marks / "executions"
    first = world.spawn()
    run_id = world.launch(SCRIPT.format(mark=mark) + "; sleep 2; echo end")
    world.wait(run_id, lambda run: run.state is RunState.RUNNING)
    world.spawn()
    time.sleep(0.5)
    first.kill()
    run = world.wait(run_id)
    assert (run.state, run.attempt) == (RunState.FINISHED, 1)
    assert mark.read_text() == "1\n"
    assert world.output(run_id) == LINES + b"end\n"


@pytest.mark.parametrize("point", [Point.CLAIMED, Point.SUBMITTING, Point.SUBMITTED, Point.LOG_READ, Point.REPORTING])
def test_frozen_beyond_its_lease(world: Any, point: Point) -> None:
    """An agent that wakes up after another has taken over changes nothing."""
    mark = world.marks / "executions"
    frozen = world.spawn(f"pause={point}")
    run_id = world.launch(SCRIPT.format(mark=mark))
    eventually(lambda: _state(frozen.pid) == "T", 30)
    second = world.agent()
    world.wait(run_id, lambda run: run.agent == second.id)
    os.kill(frozen.pid, signal.SIGCONT)
    run = world.wait(run_id)
    assert (run.state, run.attempt, run.agent) == (RunState.FINISHED, 1, second.id), world.log()
    assert mark.read_text() == "1\n"
    assert world.output(run_id) == LINES
    time.sleep(0.5)
    assert world.store.runs.get(run_id) == run, "the late comer changed nothing"


def test_frozen_until_all_is_over(world: Any) -> None:
    """An agent that was frozen right before it asked the runner does not start what its successor has finished."""
    mark = world.marks / "executions"
    frozen = world.spawn(f"pause={Point.SUBMITTING}", "drain")
    run_id = world.launch(f"echo $WINDLASS_ATTEMPT >> {mark}")
    eventually(lambda: _state(frozen.pid) == "T")
    world.drain()
    run = world.store.runs.get(run_id)
    assert (run.state, run.attempt, mark.read_text()) == (RunState.FINISHED, 1, "1\n")
    eventually(lambda: not list((world.home / "runs").iterdir()))
    os.kill(frozen.pid, signal.SIGCONT)
    assert frozen.wait(30) == 0, world.log()
    assert mark.read_text() == "1\n", "it was started again"
    assert world.store.runs.get(run_id) == run
    assert not list((world.home / "runs").iterdir())
    assert not list((world.home / "work").iterdir())
    assert "was not started: the claim on it ended meanwhile" in world.log()


def test_frozen_and_not_missed(world: Any) -> None:
    """Nobody else took the run of an agent that was frozen beyond its lease: it goes on, and that is no failure."""
    mark = world.marks / "executions"
    frozen = world.spawn(f"pause={Point.SUBMITTING}", "drain")
    run_id = world.launch(f"echo $WINDLASS_ATTEMPT >> {mark}")
    eventually(lambda: _state(frozen.pid) == "T")
    time.sleep(2.5)
    os.kill(frozen.pid, signal.SIGCONT)
    assert frozen.wait(30) == 0, world.log()
    run = world.store.runs.get(run_id)
    assert (run.state, run.attempt, run.reason.code) == (RunState.FINISHED, 1, "finished")
    assert mark.read_text() == "1\n"
    assert "was not started" in world.log()


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_two_agents_start_at_once(world: Any) -> None:
    mark = world.marks / "executions"
    runs = [world.launch(f"echo x >> {mark}.$WINDLASS_RUN_ID") for _ in range(20)]
    world.spawn("drain")
    world.spawn("drain")
    for run_id in runs:
        assert world.wait(run_id).state is RunState.FINISHED
        assert mark.with_suffix(f".{run_id}").read_text() == "x\n"


class Away:
    """Makes a store unreachable for a while, whatever is asked of it."""

    def __init__(self, part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        for name in ("claim", "renew", "release", "wait", "status", "update", "append_log", "log_cursor", "heartbeat"):
            if hasattr(part, name):
                monkeypatch.setattr(part, name, self._wrap(getattr(part, name)), raising=True)

    def _wrap(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("gone fishing")
            return method(*args, **kwargs)

        return call


def test_store_is_gone_for_a_while(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than a lease: runs go on, and are reported when the store is back."""
    from windlass_agent.agent import Agent
    from windlass_agent.config import AgentConfig

    store = world.app.open_store()
    parts = [Away(part, monkeypatch) for part in (store.runs, store.queues, store.agents)]
    run_id = world.launch("echo on; sleep 1; echo off")
    agent = Agent(AgentConfig(queues=("q",), max_jobs=4), world.app, store)
    import threading

    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        world.wait(run_id, lambda run: world.output(run_id) == b"on\n")
        for part in parts:
            part.away = True
        later = world.launch("echo later")
        time.sleep(3.0)
        for part in parts:
            part.away = False
        run = world.wait(run_id)
        assert (run.state, run.attempt) == (RunState.FINISHED, 1)
        assert world.output(run_id) == b"on\noff\n"
        assert world.wait(later).state is RunState.FINISHED
    finally:
        agent.stop()
        agent.stop()
        thread.join(30)
        store.close()


def test_disk_full_while_preparing(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the run's reason, with advice, and the agent goes on."""
    from windlass.errors import NoSpaceError
    from windlass.launch import sources

    fetch, calls = sources.fetch_source, []

    def full(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise NoSpaceError("no space left on device", hint="Free some.")
        return fetch(*args, **kwargs)

    monkeypatch.setattr(sources, "fetch_source", full)
    first = world.launch("exit 0")
    world.drain()
    run = world.store.runs.get(first)
    assert (run.state, run.reason.code, run.reason.hint) == (RunState.FAILED, "no-space", "Free some.")
    second = world.launch("exit 0")
    world.drain()
    assert world.store.runs.get(second).state is RunState.FINISHED


def test_ctrl_c_twice_leaves_a_consistent_state(world: Any) -> None:
    mark = world.marks / "executions"
    first = world.spawn()
    run_id = world.launch(f"echo x >> {mark}; echo on; sleep 2; echo off")
    world.wait(run_id, lambda run: world.output(run_id) == b"on\n")
    first.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert first.poll() is None, "the first one lets the runs finish"
    first.send_signal(signal.SIGINT)
    first.wait(10)
    assert world.store.runs.get(run_id).state is RunState.RUNNING
    began = time.monotonic()
    world.spawn()
    run = world.wait(run_id, lambda run: b"off" in world.output(run_id))
    run = world.wait(run_id)
    assert time.monotonic() - began < 8
    assert (run.state, run.attempt) == (RunState.FINISHED, 1)
    assert mark.read_text() == "x\n"
    assert world.output(run_id) == b"on\noff\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_items_with_four_agents(world: Any) -> None:
    """Each runs exactly once. ``WINDLASS_TEST_ITEMS`` sets how many (CI: 2000)."""
    from concurrent.futures import ThreadPoolExecutor

    count = int(os.environ.get("WINDLASS_TEST_ITEMS", "60"))
    script = f"echo x >> {world.marks}/$WINDLASS_RUN_ID; echo $WINDLASS_RUN_ID"
    world.source()
    agents = [world.spawn("drain", "jobs=8") for _ in range(2)]

    def submit(_: int) -> list[str]:
        return [world.launch(script) for _ in range(count // 8 + 1)]

    with ThreadPoolExecutor(8) as pool:
        runs = [run_id for part in pool.map(submit, range(8)) for run_id in part]
    agents += [world.spawn("drain", "jobs=8") for _ in range(2)]
    limit = time.monotonic() + 60 + count * 0.4
    while any(agent.poll() is None for agent in agents):
        assert time.monotonic() < limit, world.log()
        time.sleep(0.1)
    states = {run_id: world.store.runs.get(run_id).state for run_id in runs}
    assert set(states.values()) == {RunState.FINISHED}
    assert {path.name: path.read_text() for path in world.marks.iterdir()} == dict.fromkeys(runs, "x\n")
    assert all(world.output(run_id) == f"{run_id}\n".encode() for run_id in runs)
