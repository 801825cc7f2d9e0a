"""Agents with a real engine: builds that are killed or stopped, containers handed over or out of memory."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchPolicy
from windlass.models.run import RunPhase, RunState
from windlass_agent.faults import Point
from windlass_testkit.services import PYTHON_IMAGE
from windlass_testkit.waiting import eventually

pytestmark = [pytest.mark.service("docker", "python-image"), pytest.mark.timeout(180)]
IMAGE = JobSource(kind=SourceKind.IMAGE, image=PYTHON_IMAGE)


@pytest.fixture
def engine() -> Iterator[Any]:
    docker = pytest.importorskip("docker")
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def built(world: Any, engine: Any) -> Iterator[Any]:
    """Makes code whose image takes so many seconds to build; the images are removed after the test."""
    names: list[str] = []

    def make(seconds: float) -> JobSource:
        name = f"t{uuid.uuid4().hex[:10]}"
        names.append(name)
        text = f"FROM {PYTHON_IMAGE}\nRUN echo {name}; sleep {seconds}; echo slept\nCOPY main.py /main.py\n"
        artifact = world.code(name, {"Dockerfile": text, "main.py": f"print('{name}')\n"})
        return JobSource(kind=SourceKind.CODE, artifact=artifact, dockerfile="Dockerfile", entry_point=("sh",))

    yield make
    for image in engine.images.list():
        for tag in image.tags:
            if any(name in tag for name in names):
                engine.images.remove(tag, force=True)


def containers(engine: Any, run_id: str) -> list[Any]:
    found: list[Any] = engine.containers.list(
        all=True, filters={"label": f"windlass.run={run_id}"}, ignore_removed=True
    )
    return found


def build_log(world: Any, run_id: str) -> bytes:
    log: bytes = world.output(run_id, "build")
    return log


def test_killed_in_the_middle_of_a_build(world: Any, engine: Any, built: Any) -> None:
    """The successor builds once more, and the run runs once."""
    world.queue("dq", "docker", config={"volume": [f"{world.marks}:/marks"]})
    first = world.spawn("queue=dq")
    run_id = world.launch("echo x >> /marks/n; cat /main.py", queue="dq", source=built(4))
    world.wait(run_id, lambda run: run.phase is RunPhase.BUILDING and b"sleep 4" in build_log(world, run_id), 60)
    first.kill()
    first.wait(10)
    world.spawn("queue=dq")
    run = world.wait(run_id, seconds=90)
    assert (run.state, run.attempt) == (RunState.FINISHED, 1), (run.reason, world.log())
    assert (world.marks / "n").read_text() == "x\n"
    assert world.output(run_id).startswith(b"print('t")
    assert set(run.timings) >= {"queue", "prepare", "build", "start", "run"}
    limit = time.monotonic() + 15
    while containers(engine, run_id):
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.mark.service("registry")
def test_each_step_is_timed(world: Any, engine: Any, built: Any, registry_server: str) -> None:
    world.queue("dq", "docker")
    destination = f"localhost:{registry_server.rpartition(':')[2]}/team/jobs"
    run_id = world.launch("sleep 0.5", queue="dq", source=built(1))
    world.drain(
        queues=("dq",),
        builder={"type": "docker", "destination": destination},
        registry={"type": "oci", "uri": registry_server},
    )
    run = world.store.runs.get(run_id)
    assert run.state is RunState.FINISHED, run.reason
    assert run.image.startswith(destination)
    assert set(run.timings) == {"queue", "prepare", "build", "push", "start", "run"}
    assert all(seconds > 0 for seconds in run.timings.values()), run.timings
    assert run.timings["build"] > 1.0
    assert run.timings["run"] > 0.4  # its beginning is noticed a little late
    engine.images.remove(run.image, force=True)


def test_a_stop_ends_the_build(world: Any, engine: Any, built: Any) -> None:
    world.queue("dq", "docker")
    world.agent(queues=("dq",))
    run_id = world.launch("echo never", queue="dq", source=built(60))
    world.wait(run_id, lambda run: b"sleep 60" in build_log(world, run_id), 60)
    began = time.monotonic()
    world.store.runs.request_stop(run_id)
    run = world.wait(run_id)
    assert (run.state, run.reason.code) == (RunState.KILLED, "stopped-by-user")
    assert time.monotonic() - began < 15
    assert not containers(engine, run_id)
    after = world.launch("echo next", queue="dq", source=IMAGE)
    assert world.wait(after).state is RunState.FINISHED, "the builder is free again"


@pytest.mark.parametrize("on_stop", ["finish", "hand-over"])
def test_sigterm_in_the_middle_of_a_build(world: Any, engine: Any, built: Any, on_stop: str) -> None:
    """An agent that is asked to end finishes what it builds, or gives it back; it leaves nothing behind."""
    world.queue("dq", "docker", config={"volume": [f"{world.marks}:/marks"]})
    first = world.spawn("queue=dq", f"on-stop={on_stop}")
    run_id = world.launch("echo x >> /marks/n", queue="dq", source=built(5))
    world.wait(run_id, lambda run: b"sleep 5" in build_log(world, run_id), 60)
    began = time.monotonic()
    first.terminate()
    assert first.wait(60) == 0, world.log()
    run = world.store.runs.get(run_id)
    left = [path.name for path in (world.home / "work").rglob("*") if not path.is_dir()]
    assert left == (["run.json"] if on_stop == "hand-over" else [])  # the note by which it is cleared up later
    assert not containers(engine, run_id)
    if on_stop == "hand-over":
        assert (run.state, run.attempt) == (RunState.QUEUED, 1), (run, world.log())
        assert time.monotonic() - began < 5.0, "it waited for the build"
        world.drain(queues=("dq",))
        run = world.store.runs.get(run_id)
    assert (run.state, run.attempt) == (RunState.FINISHED, 1), (run, world.log())
    assert (world.marks / "n").read_text() == "x\n"
    assert b"slept" in build_log(world, run_id)
    assert not list((world.home / "work").iterdir())


def test_hand_over_of_a_container(world: Any, engine: Any) -> None:
    world.queue("dq", "docker", config={"volume": [f"{world.marks}:/marks"]})
    run_id = world.launch("echo x >> /marks/n; echo on; sleep 3; echo off", queue="dq", source=IMAGE)
    first = world.agent(queues=("dq",), on_stop="hand-over")
    world.wait(run_id, lambda run: world.output(run_id) == b"on\n")
    first.stop()
    second = world.agent(queues=("dq",))
    world.wait(run_id, lambda run: run.agent == second.id)
    run = world.wait(run_id)
    assert (run.state, run.attempt, run.agent) == (RunState.FINISHED, 1, second.id)
    assert (world.marks / "n").read_text() == "x\n"
    assert world.output(run_id) == b"on\noff\n"


def test_frozen_until_all_is_over(world: Any, engine: Any) -> None:
    """An agent that was frozen right before it asked the engine does not start what its successor has finished."""
    world.queue("dq", "docker", config={"volume": [f"{world.marks}:/marks"]})
    frozen = world.spawn(f"pause={Point.SUBMITTING}", "drain", "queue=dq")
    run_id = world.launch("echo x >> /marks/n", queue="dq", source=IMAGE)
    eventually(lambda: " T " in Path(f"/proc/{frozen.pid}/stat").read_text())
    world.drain(queues=("dq",))
    run = world.store.runs.get(run_id)
    assert run.state is RunState.FINISHED
    eventually(lambda: not containers(engine, run_id))
    os.kill(frozen.pid, signal.SIGCONT)
    assert frozen.wait(30) == 0, world.log()
    assert "was not started: the claim on it ended meanwhile" in world.log()
    assert (world.marks / "n").read_text() == "x\n", "it was started again"
    assert world.store.runs.get(run_id) == run
    assert not containers(engine, run_id)


def test_out_of_memory_has_a_budget_of_its_own(world: Any, engine: Any) -> None:
    policy = LaunchPolicy(retries={"out-of-memory": 1, "exit-code": 0}, retry_delay=0.05)
    world.queue("dq", "docker", config={"memory": "32m", "memory-swap": "32m"}, policy=policy)
    eat = "exec python3 -c 'x = bytearray(200_000_000); x[::4096] = b\"1\" * len(x[::4096])'"
    run_id = world.launch(f"echo $WINDLASS_ATTEMPT; {eat}", queue="dq", source=IMAGE)
    world.drain(queues=("dq",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.attempt, run.reason.code) == (RunState.FAILED, 2, "out-of-memory")
    assert run.reason.hint
    assert world.output(run_id) == b"1\n2\n"


def test_a_container_that_does_nothing_is_stopped(world: Any, engine: Any) -> None:
    world.queue("dq", "docker", policy=LaunchPolicy(idle_timeout=4.0, idle_cpu=0.2, stop_grace=0.3))
    work = "import time; x = bytearray(50_000_000); x[::4096] = b'1' * len(x[::4096]); t = time.time() + 6"
    busy = f'python3 -c "{work}; [None for _ in iter(lambda: time.time() < t, False)]"; echo done'
    run_ids = [world.launch(script, queue="dq", source=IMAGE) for script in (busy, "sleep 100")]
    world.drain(queues=("dq",))
    worked, slept = (world.store.runs.get(run_id) for run_id in run_ids)
    assert (worked.state, world.output(run_ids[0])) == (RunState.FINISHED, b"done\n"), worked.reason
    assert (slept.state, slept.reason.code) == (RunState.FAILED, "idle")
    assert worked.usage.cpu_seconds > slept.usage.cpu_seconds
    assert worked.usage.max_rss > 50_000_000


def test_limits_on_containers(world: Any, engine: Any, tmp_path: Path) -> None:
    world.queue("dq", "docker", policy=LaunchPolicy(attempt_timeout=0.5, stop_grace=0.3))
    run_id = world.launch("trap '' TERM; echo on; while :; do sleep 0.05; done", queue="dq", source=IMAGE)
    world.drain(queues=("dq",))
    run = world.store.runs.get(run_id)
    assert (run.state, run.reason.code) == (RunState.FAILED, "attempt-timeout")
    assert world.output(run_id) == b"on\n"
