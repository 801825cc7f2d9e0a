"""An engine that is away: what stands in the queue waits for it, and nothing fails by it."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchPolicy
from windlass.models.run import RunState
from windlass_agent import patience
from windlass_agent.faults import Faults, Point
from windlass_testkit.services import PYTHON_IMAGE, docker_socket
from windlass_testkit.simulators.switch import Switch
from windlass_testkit.waiting import eventually

pytestmark = [
    pytest.mark.service("docker", "python-image"),
    pytest.mark.timeout(180),
    # The SDK leaves a socket open when it cannot connect, as between a look at the engine's socket and its end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
IMAGE = JobSource(kind=SourceKind.IMAGE, image=PYTHON_IMAGE)


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    with Switch(str(tmp_path / "s"), docker_socket()) as switch:
        yield switch
    gc.collect()  # what the SDK left open is told of here, and not in the next test


@pytest.fixture
def engine(tmp_path: Path) -> dict[str, Any]:
    """The agent's settings, with the switch in front of the engine."""
    host = {"docker-host": f"unix://{tmp_path}/s"}
    return {"queues": ("dq",), "builder": {"type": "docker", **host}, "runners": {"docker": host}}


def ready(world: Any, agent: Any) -> None:
    eventually(lambda: any(row.id == agent.id and row.state == "polling" for row in world.store.agents.list("me")), 20)


def waiting(world: Any, run_id: str) -> bool:
    run = world.store.runs.get(run_id)
    return run.state is RunState.PENDING and run.reason is not None and "does not answer" in run.reason.message


def in_line(world: Any, run_ids: list[str]) -> bool:
    """One of the runs waits at the agent, all others in the queue."""
    left = [run_id for run_id in run_ids if not waiting(world, run_id)]
    return len(left) == len(run_ids) - 1 and all(world.store.runs.get(i).state is RunState.QUEUED for i in left)


def test_runs_wait_until_it_is_back(world: Any, switch: Switch, engine: dict[str, Any]) -> None:
    world.queue("dq", "docker")
    ready(world, world.agent(**engine))
    switch.off()
    run_ids = [world.launch(f"echo {n}", queue="dq", source=IMAGE) for n in range(3)]
    artifact = world.code("built", {"Dockerfile": f"FROM {PYTHON_IMAGE}\n", "main.py": ""})
    code = JobSource(kind=SourceKind.CODE, artifact=artifact, dockerfile="Dockerfile", entry_point=("sh",))
    run_ids.append(world.launch("echo built", queue="dq", source=code))
    eventually(lambda: in_line(world, run_ids), 20)
    why = world.store.queues.explain(next(i for i in run_ids if not waiting(world, i)))
    assert "backend-away" in [reason.code for reason in why.reasons]
    switch.on()
    for run_id, wanted in zip(run_ids, (b"0\n", b"1\n", b"2\n", b"built\n"), strict=True):
        run = world.wait(run_id)
        assert (run.state, run.attempt) == (RunState.FINISHED, 1), run.reason
        assert world.output(run_id).endswith(wanted)


def test_an_agent_starts_without_its_engine(world: Any, switch: Switch, engine: dict[str, Any]) -> None:
    world.queue("dq", "docker")
    switch.off()
    agent = world.agent(**engine)
    run_id = world.launch("echo late", queue="dq", source=IMAGE)
    eventually(lambda: waiting(world, run_id), 20)
    eventually(lambda: [row.state for row in world.store.agents.list("me") if row.id == agent.id] == ["waiting"], 20)
    switch.on()
    assert world.wait(run_id).state is RunState.FINISHED


def test_nobody_else_is_kept_from_work(world: Any, switch: Switch, engine: dict[str, Any]) -> None:
    """More items than an agent has threads: its other queue goes on, and an agent with an engine takes them all."""
    world.queue("dq", "docker")
    world.queue("pq", "process")
    switch.off()
    world.agent(**{**engine, "queues": ("dq", "pq"), "max_jobs": -1})
    run_ids = [world.launch(f"echo {n}", queue="dq", source=IMAGE) for n in range(12)]
    eventually(lambda: in_line(world, run_ids), 20)
    assert world.wait(world.launch("echo other", queue="pq"), seconds=20).state is RunState.FINISHED
    world.agent(queues=("dq",), max_jobs=4)
    for run_id in run_ids:
        run = world.wait(run_id, seconds=60)
        assert (run.state, run.attempt) == (RunState.FINISHED, 1), run.reason


def test_an_agent_can_end_meanwhile(
    world: Any, switch: Switch, engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_LOOK_EVERY", 0.2)
    world.queue("dq", "docker")
    switch.off()
    agent = world.agent(**engine)
    run_id = world.launch("echo later", queue="dq", source=IMAGE)
    eventually(lambda: waiting(world, run_id), 20)
    agent.stop()
    eventually(lambda: world.store.agents.get(agent.id).state == "stopped", 20)
    assert world.store.runs.get(run_id).state is RunState.QUEUED


def test_one_slot_is_not_kept_for_waiting(world: Any, switch: Switch, engine: dict[str, Any]) -> None:
    world.queue("dq", "docker")
    world.queue("pq", "process")
    switch.off()
    world.agent(**{**engine, "queues": ("dq", "pq"), "max_jobs": 1})
    held = world.launch("echo held", queue="dq", source=IMAGE)
    world.wait(held, lambda run: run.state is RunState.QUEUED and run.reason is not None)
    assert world.wait(world.launch("echo other", queue="pq"), seconds=20).state is RunState.FINISHED
    switch.on()
    assert world.wait(held).state is RunState.FINISHED


def test_an_engine_that_is_started_later_builds(world: Any, switch: Switch, engine: dict[str, Any]) -> None:
    """Without a builder in its settings, an agent does not settle for none because there was no engine once."""
    from windlass_agent.backends import Backends
    from windlass_agent.config import AgentConfig

    switch.off()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine["runners"]["docker"]["docker-host"])
        backends = Backends(AgentConfig(), world.app)
        assert not backends.builder_capabilities().builds
        switch.on()
        assert backends.builder_capabilities().builds
        backends.close()


def test_a_build_begins_again(world: Any, switch: Switch, engine: dict[str, Any]) -> None:
    world.queue("dq", "docker")
    world.agent(**engine)
    name = f"t{time.time_ns():x}"
    text = f"FROM {PYTHON_IMAGE}\nRUN echo {name}; sleep 4; echo slept\n"
    artifact = world.code(name, {"Dockerfile": text, "main.py": ""})
    code = JobSource(kind=SourceKind.CODE, artifact=artifact, dockerfile="Dockerfile", entry_point=("sh",))
    run_id = world.launch("echo built", queue="dq", source=code)
    world.wait(run_id, lambda run: f"echo {name}".encode() in world.output(run_id, "build"), 60)
    switch.off()
    eventually(lambda: waiting(world, run_id), 20)
    switch.on()
    run = world.wait(run_id, seconds=60)
    assert (run.state, run.attempt) == (RunState.FINISHED, 1), run.reason


def test_whoever_waits_can_be_stopped_and_has_limits(world: Any, switch: Switch, engine: dict[str, Any]) -> None:
    world.queue("dq", "docker")
    world.queue("short", "docker", policy=LaunchPolicy(start_timeout=0.5))
    ready(world, world.agent(**{**engine, "queues": ("dq", "short")}))
    switch.off()
    stopped = world.launch("echo never", queue="dq", source=IMAGE)
    late = world.launch("echo never", queue="short", source=IMAGE)
    run = world.wait(late)
    assert (run.state, run.reason.code) == (RunState.FAILED, "runner"), run.reason
    eventually(lambda: waiting(world, stopped), 20)
    world.store.runs.request_stop(stopped)
    run = world.wait(stopped)
    assert (run.state, run.reason.code) == (RunState.KILLED, "stopped-by-user")


def test_builds_wait_for_their_registry(world: Any) -> None:
    world.queue("dq", "docker")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and listens not
        uri = f"127.0.0.1:{nobody.getsockname()[1]}/team/jobs"
        world.agent(
            queues=("dq",), builder={"type": "docker", "destination": uri}, registry={"type": "oci", "uri": uri}
        )
        artifact = world.code("built", {"Dockerfile": f"FROM {PYTHON_IMAGE}\n", "main.py": ""})
        code = JobSource(kind=SourceKind.CODE, artifact=artifact, dockerfile="Dockerfile", entry_point=("sh",))
        run_id = world.launch("echo never", queue="dq", source=code)
        eventually(lambda: waiting(world, run_id), 20)
        world.store.runs.request_stop(run_id)
        assert world.wait(run_id).state is RunState.KILLED


def test_a_restart_without_its_engine_keeps_no_other_runs_waiting(
    world: Any, switch: Switch, engine: dict[str, Any]
) -> None:
    """More runs to adopt than a backend has threads, and more of them to build than there are builds at a time."""
    world.queue("dq", "docker")
    world.queue("pq", "process")
    artifact = world.code("built", {"Dockerfile": f"FROM {PYTHON_IMAGE}\n", "main.py": ""})
    code = JobSource(kind=SourceKind.CODE, artifact=artifact, dockerfile="Dockerfile", entry_point=("sh",))
    both = {**engine, "queues": ("dq", "pq"), "max_jobs": -1}
    first = world.agent(**both)
    hold = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
    adopted = [world.launch(hold, queue="dq", source=source) for source in (code,) * 3 + (IMAGE,) * 9]
    for run_id in adopted:
        world.wait(run_id, lambda run: run.state is RunState.RUNNING, 90)
    held = world.launch("cat; sleep 2; echo adopted", queue="pq")
    world.wait(held, lambda run: run.state is RunState.RUNNING)
    first.stop()
    first.stop()
    switch.off()

    class Slow(Faults):
        """It takes a while to load the SDK that says that the engine is away: meanwhile all of them are claimed."""

        def hit(self, point: Point, run_id: str) -> None:
            if point is Point.CLAIMED and run_id in adopted:
                time.sleep(2.0)

    world.agent(**both, faults=Slow())
    eventually(lambda: all(world.store.runs.get(run_id).fence > 1 for run_id in adopted), 30)
    other = world.launch("echo other", queue="pq")
    assert world.wait(other, seconds=20).state is RunState.FINISHED
    assert world.wait(held, seconds=20).state is RunState.FINISHED
    switch.on()
    for run_id in adopted:
        world.store.runs.request_stop(run_id)
    for run_id in adopted:
        run = world.wait(run_id, seconds=90)
        assert (run.state, run.attempt) == (RunState.KILLED, 1), run.reason
    eventually(lambda: not list((world.home / "work").glob("*/run.json")), 20)  # nothing is left in the engine
