"""Many runs under one agent, loud ones and quiet ones, and an agent that has nothing to do."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from windlass.models.launch import LaunchPolicy
from windlass.models.queue import QueueRef
from windlass.models.reason import Reason
from windlass.models.run import RunState
from windlass.runners import RunnerState
from windlass_testkit.fakes import plugin
from windlass_testkit.fakes import runner as fakes
from windlass_testkit.waiting import eventually


@pytest.fixture
def cluster(world: Any) -> Any:
    """A cluster whose attempts the test plays, behind the queue ``fq``."""
    world.app.register(plugin.RUNNER)
    found = fakes.cluster_named(str(world.app.settings.home))
    found.work = lambda attempt: None
    return found


def memory() -> int:
    """Resident bytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_runs(world: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bulk poll for all, a bounded number of threads, flat memory, and each run ends in its own state."""
    world.queue("fq", "fake")
    item = world.item("x", queue="fq")
    from attrs import evolve

    ids = [f"crowd{n:04}" for n in range(1000)]
    world.store.queues.enqueue([evolve(item, run_id=run_id) for run_id in ids])
    before = threading.active_count()
    agent = world.agent(queues=("fq",), max_jobs=-1)
    eventually(lambda: len(cluster.attempts) == 1000, 300)
    for attempt in cluster.attempts.values():
        attempt.start()
    eventually(lambda: world.store.queues.status(QueueRef(entity="me", name="fq")).running == 1000, 200)
    threads = threading.active_count() - before
    assert threads <= 32, [thread.name for thread in threading.enumerate()]
    polls: list[int] = []
    start = memory()
    poll = fakes.FakeRunner.poll

    def counting(self: Any, handles: Any) -> Any:
        polls.append(len(handles))
        return poll(self, handles)

    monkeypatch.setattr(fakes.FakeRunner, "poll", counting)
    for turn in range(5):
        for attempt in cluster.attempts.values():
            attempt.write(b"line %d\n" % turn)
        time.sleep(1.0)
    assert set(polls) == {1000}, "one request for all of them"
    assert memory() - start < 64 << 20
    assert threading.active_count() - before <= threads
    for number, attempt in enumerate(list(cluster.attempts.values())):
        attempt.end(number % 2)
    eventually(lambda: not world.store.queues.status(QueueRef(entity="me", name="fq")).running, 300)
    eventually(lambda: not agent._attempts)
    states = [world.store.runs.get(run_id).state for run_id in ids]
    assert set(states) == {RunState.FINISHED, RunState.FAILED}
    assert states.count(RunState.FINISHED) == 500
    assert all(world.output(run_id) == b"".join(b"line %d\n" % n for n in range(5)) for run_id in ids[::50])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_processes(world: Any) -> None:
    """Real ones, all alive at the same time."""
    gate = world.marks / "gate"
    script = f"echo $WINDLASS_RUN_ID; while [ ! -e {gate} ]; do sleep 1; done"
    runs = [world.launch(script) for _ in range(200)]
    before = threading.active_count()
    world.agent(max_jobs=-1)
    eventually(lambda: world.store.queues.status(QueueRef(entity="me", name="q")).running == 200, 300)
    assert threading.active_count() - before <= 32
    gate.touch()
    for run_id in runs:
        assert world.wait(run_id, seconds=200).state is RunState.FINISHED
        assert world.output(run_id) == f"{run_id}\n".encode()


def test_a_loud_run_does_not_starve_a_quiet_one(world: Any) -> None:
    """One writes 20 MB/s; the other's lines are stored within a second or two all the same."""
    burst = "yes 'a line that comes again and again' | head -c 2000000"
    loud = world.launch(f"for i in $(seq 100); do {burst}; sleep 0.1; done")
    world.agent()
    world.wait(loud, lambda run: run.state is RunState.RUNNING)
    time.sleep(1.0)
    quiet = world.launch("echo now; sleep 20")
    began = time.monotonic()
    world.wait(quiet, lambda run: world.output(quiet) == b"now\n", 15)
    assert time.monotonic() - began < 5.0
    began = time.monotonic()
    world.store.runs.request_stop(quiet)
    assert world.wait(quiet).state is RunState.KILLED
    assert time.monotonic() - began < 5.0
    world.store.runs.request_stop(loud)
    assert world.wait(loud, seconds=100).state is RunState.KILLED


FOLLOW = """
import sys, time
from windlass.plugins.app import App
from windlass.settings import Settings
store, place = App(Settings.from_env()).open_store(), 0
while True:
    page = store.runs.read_log(sys.argv[1], place)
    for line in page.lines:
        print(time.time(), line.data.decode(), end="", flush=True)
    place = page.next
    if page.ended and not page.lines:
        break
    time.sleep(0.02)
"""


def test_output_is_followed_from_another_process_while_the_run_lives(world: Any) -> None:
    run_id = world.launch("for i in 1 2 3 4; do echo $(date +%s.%N); sleep 0.7; done")
    world.agent()
    found = subprocess.run(
        [sys.executable, "-c", FOLLOW, run_id],
        env={**os.environ, **world.env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    pairs = [tuple(map(float, line.split())) for line in found.stdout.splitlines()]
    assert len(pairs) == 4
    delays = sorted(seen - written for seen, written in pairs[1:])
    assert delays[0] < 1.5, "it comes while the run lives"


def test_preemption_has_its_own_budget(world: Any, cluster: Any) -> None:
    world.queue("fq", "fake", policy=LaunchPolicy(retries={"preemption": 2}, retry_delay=0.01))

    def preempt(attempt: Any) -> None:
        attempt.start()
        attempt.write(b"attempt %d\n" % attempt.spec.attempt)
        reason = Reason(code="preempted", message="its node was taken away")
        attempt.end(143, state=RunnerState.PREEMPTED, reason=reason)

    cluster.work = preempt
    run_id = world.launch("x", queue="fq")
    world.drain(queues=("fq",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.attempt, run.reason.code) == (RunState.CRASHED, 3, "preempted")
    assert world.output(run_id) == b"attempt 1\nattempt 2\nattempt 3\n"


def test_a_run_that_does_not_start_in_time(world: Any, cluster: Any) -> None:
    policy = LaunchPolicy(start_timeout=0.3, retries={"infrastructure": 0}, stop_grace=0.1)
    world.queue("fq", "fake", policy=policy)
    cluster.work = lambda attempt: None
    run_id = world.launch("x", queue="fq")
    world.drain(queues=("fq",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.reason.code) == (RunState.FAILED, "start-timeout")
    assert run.reason.hint


def test_an_idle_agent_costs_next_to_nothing(world: Any) -> None:
    process = world.spawn()
    eventually(lambda: world.store.agents.list("me"))
    time.sleep(2.0)

    def used() -> float:
        fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(4.0)
    assert (used() - before) / 4.0 < 0.03, "share of a core"
