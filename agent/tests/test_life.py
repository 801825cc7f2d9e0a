"""The life of runs under an agent that nothing happens to."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from windlass.errors import NoSpaceError, PluginNotFoundError, UsageError
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchPolicy, LaunchSpec
from windlass.models.queue import NewItem, Queue, QueueRef
from windlass.models.run import RunPhase, RunState
from windlass.plugins import hookimpl
from windlass_agent import left, outcome
from windlass_agent.agent import Agent
from windlass_agent.backends import Backends
from windlass_agent.config import AgentConfig
from windlass_agent.faults import Faults, Point
from windlass_testkit.servers import alive
from windlass_testkit.waiting import eventually


def test_success(world: Any) -> None:
    run_id = world.launch("echo out; echo err >&2; cat main.py")
    world.drain()
    run = world.store.runs.get(run_id)
    assert run.state is RunState.FINISHED
    assert run.phase is RunPhase.NONE
    assert run.exit_code == 0
    assert run.reason.code == "finished"
    assert run.host
    assert set(run.timings) >= {"queue", "prepare", "start", "run"}
    assert run.usage.cpu_seconds is not None
    assert world.output(run_id) == b"out\nprint('main')\n"
    assert world.output(run_id, "stderr") == b"err\n"
    assert world.store.runs.read_log(run_id).lines[0].time > 1e9


def test_nothing_is_left_on_the_host(world: Any) -> None:
    world.launch("exit 0")
    world.launch("exit 1")
    world.drain()
    assert list((world.home / "runs").iterdir()) == []
    assert list((world.home / "work").iterdir()) == []


def test_failure(world: Any) -> None:
    run_id = world.launch("echo before; exit 7")
    world.drain()
    run = world.store.runs.get(run_id)
    assert (run.state, run.exit_code, run.reason.code) == (RunState.FAILED, 7, "exit-code")
    assert "7" in run.reason.message


def test_environment_of_a_job(world: Any) -> None:
    run_id = world.launch("env")
    world.drain()
    env = dict(line.split("=", 1) for line in world.output(run_id).decode().splitlines() if "=" in line)
    assert env["WINDLASS_RUN_ID"] == run_id
    assert env["WINDLASS_ATTEMPT"] == "1"
    assert env["WINDLASS_ENTITY"] == "me"
    assert env["WINDLASS_PROJECT"] == "p"
    assert env["WINDLASS_QUEUE"] == "q"
    assert env["WINDLASS_LAUNCH"] == "true"
    assert env["PYTHONUNBUFFERED"] == "1"
    assert env["WINDLASS_BASE_URL"].startswith("unix://")
    assert env["WINDLASS_API_KEY"]
    assert "PYTEST_CURRENT_TEST" not in env


def test_retries_have_a_budget(world: Any) -> None:
    policy = LaunchPolicy(retries={"exit-code": 2}, retry_delay=0.1)
    world.queue("again", policy=policy)
    mark = world.marks / "n"
    run_id = world.launch(f"echo $WINDLASS_ATTEMPT >> {mark}; echo attempt $WINDLASS_ATTEMPT; exit 9", queue="again")
    world.drain(queues=("again",))
    run = world.store.runs.get(run_id)
    assert mark.read_text().split() == ["1", "2", "3"]
    assert (run.state, run.attempt, run.exit_code) == (RunState.FAILED, 3, 9)
    assert world.output(run_id) == b"attempt 1\nattempt 2\nattempt 3\n"


def test_a_retry_may_succeed(world: Any) -> None:
    world.queue("again", policy=LaunchPolicy(retries={"exit-code": 5}, retry_delay=0.05))
    run_id = world.launch("[ $WINDLASS_ATTEMPT = 2 ] || { sleep 2; exit 1; }", queue="again")
    world.drain(queues=("again",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.attempt, run.exit_code, run.reason.code) == (RunState.FINISHED, 2, 0, "finished")
    assert run.timings["queue"] < 2.0, "the first attempt is no part of the second one's wait"
    assert run.started_at > run.queued_at > run.created_at + 2.0


def test_configuration_errors_are_not_retried(world: Any) -> None:
    world.queue("bad", config={"no-such-key": 1}, policy=LaunchPolicy(retries={"infrastructure": 3}))
    run_id = world.launch("exit 0", queue="bad")
    world.drain(queues=("bad",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.attempt, run.reason.code) == (RunState.FAILED, 1, "config")
    assert "no-such-key" in str(run.reason.context)


def test_program_that_does_not_exist(world: Any) -> None:
    item = world.item("")
    from attrs import evolve

    item = evolve(item, spec=evolve(item.spec, entry_point=("no-such-program",)))
    world.store.queues.enqueue([item])
    world.drain()
    run = world.store.runs.get(item.run_id)
    assert (run.state, run.reason.code) == (RunState.FAILED, "submit")
    assert "no-such-program" in run.reason.message


def test_unknown_runner(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store.queues.create(Queue(entity="me", name="odd", resource="no-such-runner"))
    run_id = world.launch("exit 0", queue="odd")
    with pytest.raises(PluginNotFoundError, match="no runner 'no-such-runner'") as caught:
        world.drain(queues=("q", "odd"))
    assert caught.value.where == "queue odd"
    assert world.store.runs.get(run_id).state is RunState.QUEUED, "another agent may have the runner"
    monkeypatch.setattr(Backends, "serve", lambda *_: None)  # its plugin is uninstalled while the agent works
    world.drain(queues=("odd",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.reason.code) == (RunState.FAILED, "plugin-not-found")
    assert "process" in run.reason.message


def test_image_on_the_process_runner(world: Any) -> None:
    spec = LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="busybox"))
    item = NewItem(run_id="imagerun", queue=QueueRef(entity="me", name="q"), spec=spec, entity="me", project="p")
    world.store.queues.enqueue([item])
    world.drain()
    run = world.store.runs.get("imagerun")
    assert (run.state, run.reason.code) == (RunState.FAILED, "unsupported")


def test_stop_by_user(world: Any) -> None:
    run_id = world.launch("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done")
    world.agent()
    world.wait(run_id, lambda run: world.output(run_id) == b"ready\n")
    began = time.monotonic()
    world.store.runs.request_stop(run_id)
    run = world.wait(run_id)
    assert time.monotonic() - began < 5.0
    assert (run.state, run.reason.code) == (RunState.KILLED, "stopped-by-user")
    assert world.output(run_id) == b"ready\nbye\n"


def test_stop_kills_after_the_grace(world: Any) -> None:
    """A job that does not listen is killed when the queue's grace is over, not before, and its children with it."""
    world.queue("patient", policy=LaunchPolicy(stop_grace=0.7))
    pids = world.marks / "pids"
    deaf = f'trap "" TERM; echo $$ >> {pids}; while :; do sleep 0.02; done'
    run_id = world.launch(f"sh -c '{deaf}' & setsid sh -c '{deaf}' & {deaf}", queue="patient")
    world.agent(queues=("patient",))
    eventually(lambda: pids.exists() and len(pids.read_text().split()) == 3)
    found = [int(word) for word in pids.read_text().split()]
    began = time.monotonic()
    world.store.runs.request_stop(run_id)
    run = world.wait(run_id)
    assert time.monotonic() - began >= 0.7
    assert (run.state, run.reason.code) == (RunState.KILLED, "stopped-by-user")
    assert not any(map(alive, found))


def test_a_huge_output_keeps_head_and_tail(world: Any) -> None:
    script = "echo first; head -c 90000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo last"
    run_id = world.launch(script)
    world.drain()
    assert world.store.runs.get(run_id).state is RunState.FINISHED
    found, position = [], 0
    while (page := world.store.runs.read_log(run_id, position, 1000)).next > position:
        found += [line.data for line in page.lines]
        position = page.next
    assert (found[0], found[-1]) == (b"first\n", b"last\n")
    assert 40_000_000 < sum(map(len, found)) < 68_000_000
    assert [line for line in found if b"left out" in line]


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (LaunchPolicy(attempt_timeout=0.3, stop_grace=0.2), "attempt-timeout"),
        (LaunchPolicy(deadline=4.0, stop_grace=0.2), "deadline"),
        (LaunchPolicy(idle_timeout=3.0, stop_grace=0.2), "idle"),
    ],
)
def test_limits(world: Any, policy: LaunchPolicy, code: str) -> None:
    world.queue("limited", policy=policy)
    run_id = world.launch("echo on; sleep 60", queue="limited")
    world.agent(queues=("limited",))
    run = world.wait(run_id)
    assert (run.state, run.reason.code) == (RunState.FAILED, code)
    assert world.output(run_id) == b"on\n"


def test_queue_timeout(world: Any) -> None:
    world.queue("late", policy=LaunchPolicy(queue_timeout=0.05))
    run_id = world.launch("exit 0", queue="late")
    time.sleep(0.1)
    world.drain(queues=("late",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.reason.code) == (RunState.KILLED, "queue-timeout")


def test_a_busy_agent_looks_after_what_waits_too_long(world: Any) -> None:
    long = world.launch("sleep 30")
    world.agent(max_jobs=1)
    world.wait(long, lambda run: run.state is RunState.RUNNING)
    world.queue("late", policy=LaunchPolicy(queue_timeout=0.2))
    late = world.launch("exit 0", queue="late")
    assert world.wait(late, seconds=10.0).reason.code == "queue-timeout"
    world.store.runs.request_stop(long)
    world.wait(long)


def test_an_idle_agent_starts_at_once(world: Any) -> None:
    world.agent()
    time.sleep(0.3)
    began = time.monotonic()
    run_id = world.launch("exit 0")
    world.wait(run_id)
    assert time.monotonic() - began < 5.0


def test_max_jobs(world: Any) -> None:
    own, there = f"{world.marks}/$WINDLASS_RUN_ID", f"ls {world.marks} | wc -l"
    wait = f"for i in $(seq 40); do [ $({there}) -ge 2 ] && break; sleep 0.05; done"  # for another, if one may be there
    script = f"touch {own}; {wait}; {there}; sleep 0.1; rm {own}"
    runs = [world.launch(script) for _ in range(8)]
    world.drain(max_jobs=2)
    counts = [int(world.output(run_id)) for run_id in runs]
    assert max(counts) == 2


def test_several_queues_take_turns(world: Any) -> None:
    world.queue("other")
    order = world.marks / "order"
    for queue in ("q", "other"):
        for _ in range(3):
            world.launch(f"echo {queue} >> {order}", queue=queue)
    world.drain(queues=("q", "other"), max_jobs=1)
    assert order.read_text().split() == ["q", "other"] * 3


def test_queues_of_another_entity(world: Any) -> None:
    """Of two queues with the same name the one that is meant is served; shares go by the name that was given."""
    order = world.marks / "order"
    for entity in ("infra", "me"):
        ref = QueueRef(entity=entity, name="shared")
        world.store.queues.create(Queue(entity=entity, name="shared", resource="process"))
        script = f"echo {entity} >> {order}"
        world.store.queues.enqueue([evolve(world.item(script), queue=ref) for _ in range(4)])
    world.drain(queues=("infra/shared",), max_jobs=1)
    assert order.read_text().split() == ["infra"] * 4
    world.store.queues.enqueue(
        [evolve(world.item(f"echo infra >> {order}"), queue=QueueRef(entity="infra", name="shared")) for _ in range(4)]
    )
    world.drain(queues=("shared", "infra/shared"), weights={"infra/shared": 3.0}, max_jobs=1)
    assert order.read_text().split()[4:8].count("infra") == 3


def test_drain_finishes_what_runs(world: Any) -> None:
    run_id = world.launch("echo on; sleep 1; echo off")
    agent = world.agent()
    world.wait(run_id, lambda run: run.state is RunState.RUNNING)
    agent.stop()
    later = world.launch("exit 0")
    run = world.wait(run_id)
    assert run.state is RunState.FINISHED
    assert world.output(run_id) == b"on\noff\n"
    limit = time.monotonic() + 10
    while world.store.agents.get(agent.id).state != "stopped":
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert world.store.runs.get(later).state is RunState.QUEUED


def test_hand_over(make_world: Any) -> None:
    world = make_world(lease=20.0)
    mark = world.marks / "n"
    run_id = world.launch(f"echo x >> {mark}; echo on; sleep 2; echo off")
    first = world.agent(on_stop="hand-over")
    world.wait(run_id, lambda run: world.output(run_id) == b"on\n")
    began = time.monotonic()
    first.stop()
    second = world.agent()
    run = world.wait(run_id, lambda run: run.agent == second.id)
    assert run.agent == second.id
    assert time.monotonic() - began < 8.0, "a hand-over does not wait for the lease"
    run = world.wait(run_id)
    assert (run.state, run.attempt) == (RunState.FINISHED, 1)
    assert mark.read_text() == "x\n"
    assert world.output(run_id) == b"on\noff\n"


def test_retries_are_counted_across_a_hand_over(world: Any) -> None:
    mark = world.marks / "n"
    policy = LaunchPolicy(retries={"exit-code": 1}, retry_delay=0.0)
    world.queue("once", "process", policy=policy)
    script = f"echo x >> {mark}; test $(wc -l < {mark}) = 1 && exit 1; echo on; sleep 2; exit 1"
    run_id = world.launch(script, queue="once")
    first = world.agent(queues=("once",), on_stop="hand-over")
    world.wait(run_id, lambda run: b"on\n" in world.output(run_id))
    first.stop()
    world.agent(queues=("once",))
    run = world.wait(run_id)
    assert (run.state, run.attempt) == (RunState.FAILED, 2), run.reason
    assert mark.read_text() == "x\nx\n"


def test_drain_request(world: Any) -> None:
    agent = world.agent()
    time.sleep(0.2)
    world.store.agents.request_drain(agent.id)
    limit = time.monotonic() + 10
    while world.store.agents.get(agent.id).state != "stopped":
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_events(world: Any) -> None:
    seen: list[str] = []

    class Hooks:
        @hookimpl
        def windlass_run_changed(self, event: Any) -> None:
            seen.append(f"{event.run.state}/{event.run.phase}")

        @hookimpl
        def windlass_run_finished(self, event: Any) -> None:
            seen.append(f"finished {event.run.id}")
            raise RuntimeError("a broken hook changes nothing")

    world.app.register(Hooks())
    run_id = world.launch("exit 0")
    world.drain()
    assert seen[-1] == f"finished {run_id}"
    assert "running/" in seen
    assert "pending/starting" in seen


def test_a_plugin_that_breaks_is_named(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass_runner_process.runner import ProcessRunner

    def broken(self: Any, spec: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(ProcessRunner, "submit", broken)
    run_id = world.launch("exit 0")
    world.drain()
    run = world.store.runs.get(run_id)
    assert (run.state, run.reason.code) == (RunState.FAILED, "plugin-crashed")
    assert "windlass-runner-process" in run.reason.hint


def test_a_runner_that_cannot_be_asked_is_asked_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass.errors import RunnerError
    from windlass_runner_process.runner import ProcessRunner

    poll, calls = ProcessRunner.poll, []

    def flaky(self: Any, handles: Any) -> Any:
        calls.append(1)
        if 2 <= len(calls) <= 5:
            raise RunnerError("no answer")
        return poll(self, handles)

    monkeypatch.setattr(ProcessRunner, "poll", flaky)
    run_id = world.launch("sleep 0.2; echo done")
    world.drain()
    assert world.store.runs.get(run_id).state is RunState.FINISHED
    assert world.output(run_id) == b"done\n"
    assert len(calls) > 5


def test_sweep_removes_what_a_dead_agent_left(world: Any) -> None:
    class Fatal(Faults):
        def hit(self, point: Point, run_id: str) -> None:
            if point is Point.REPORTED:
                raise SystemExit  # ends the thread between the report and the removal

    run_id = world.launch("echo x")
    world.agent(faults=Fatal())
    world.wait(run_id)
    assert (world.home / "runs" / run_id).exists()
    assert (world.home / "work" / run_id).exists()
    world.agent()
    limit = time.monotonic() + 10
    while (world.home / "work" / run_id).exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert not (world.home / "runs" / run_id).exists()


def test_sweep_removes_what_a_late_agent_made_again(world: Any) -> None:
    """Directories without a note are those of runs by name, however old they are; others must be old."""
    over, waiting = world.launch("exit 0"), world.launch("exit 0", queue=world.queue("later").name)
    world.drain()
    for name in (over, waiting, f"{over}-2", f"{waiting}-2", "stranger", "old"):
        (world.home / "work" / name / "1-agent").mkdir(parents=True)
    os.utime(world.home / "work" / "old", (1.0, 1.0))
    world.drain()
    eventually(
        lambda: {path.name for path in (world.home / "work").iterdir()} == {waiting, f"{waiting}-2", "stranger"}, 10
    )


def test_a_lost_resource_is_reported(world: Any) -> None:
    run_id = world.launch("echo on; sleep 60")
    world.agent()
    world.wait(run_id, lambda run: world.output(run_id) == b"on\n")
    record = Path(world.home / "runs" / run_id / "record")
    os.kill(int(record.read_text().split()[0]), 9)
    run = world.wait(run_id)
    assert (run.state, run.reason.code) == (RunState.CRASHED, "lost")


def test_a_run_whose_end_cannot_be_stored_is_told_of(world: Any, monkeypatch: Any, caplog: Any) -> None:
    run_id = world.launch("exit 0")
    runs = type(world.store.runs)
    update = runs.update

    def full(self: Any, run: str, changes: Any, *args: Any, **more: Any) -> Any:
        if changes.state is not None and changes.state.is_terminal:
            raise NoSpaceError("the disk is full")
        return update(self, run, changes, *args, **more)

    monkeypatch.setattr(runs, "update", full)
    agent = Agent(AgentConfig(queues=("q",), drain=True), world.app, world.store)
    agent.run()
    assert agent.unreported == {run_id}
    (line,) = [record for record in caplog.records if "could not be reported" in record.message]
    assert line.exc_info is None
    monkeypatch.undo()
    time.sleep(2.1)  # the lease
    world.drain()
    assert world.store.runs.get(run_id).state.is_terminal


def test_a_claim_that_fails_is_not_tried_at_every_ring(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def claim(*_: Any) -> Any:
        tries.append(time.monotonic())
        raise UsageError("it does not work")

    def wait(*_: Any) -> bool:
        time.sleep(0.005)
        return True

    monkeypatch.setattr(type(world.store.queues), "claim", claim)
    monkeypatch.setattr(type(world.store.queues), "wait", wait)
    agent = world.agent()
    time.sleep(1.0)
    agent.stop()
    agent.stop()
    assert 2 <= len(tries) < 10


def test_a_drain_that_has_to_wait_says_for_what(
    world: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left, "_FIRST", 0.1)
    caplog.set_level("INFO", logger="windlass_agent")
    world.queue("other", "process")
    first = world.launch("exit 0", queue="other")
    item = world.item("exit 0")
    (run,) = world.store.queues.enqueue([evolve(item, spec=evolve(item.spec, depends_on=(first,)))])
    world.agent(drain=True)
    eventually(lambda: f"{run.id} of queue q: it starts when these have finished: {first} (queued)" in caplog.text, 20)
    world.drain(queues=("other",))
    assert world.wait(run.id).state is RunState.FINISHED


def test_a_full_disk_is_waited_for(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "LEAST_SPACE", 1 << 60)
    world.agent()
    run_ids = [world.launch("exit 0") for _ in range(3)]

    def waits() -> bool:
        runs = [world.store.runs.get(run_id) for run_id in run_ids]
        told = [run for run in runs if run.state is RunState.PENDING and run.reason and run.reason.code == "no-space"]
        return len(told) == 1 and sum(run.state is RunState.QUEUED for run in runs) == 2

    eventually(waits, 20)
    monkeypatch.setattr(outcome, "LEAST_SPACE", 0)
    assert {world.wait(run_id).state for run_id in run_ids} == {RunState.FINISHED}


def test_a_job_that_failed_by_its_full_disk(world: Any) -> None:
    """Its own words find no room there either, so its exit code is all that it leaves."""
    place = world.home / "work"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        run_id = world.launch("yes > big; exit 7")
        world.drain()
        run = world.store.runs.get(run_id)
        assert (run.state, run.exit_code, run.reason.code) == (RunState.FAILED, 7, "exit-code")
        assert f"the disk of {place}/{run_id} was full" in run.reason.message
        other = world.launch("exit 7")
        world.drain()
        assert "disk" not in world.store.runs.get(other).reason.message
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
