"""Parts of the agent by themselves: output, claims, limits, outcomes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from windlass.clock import lease_clock
from windlass.errors import AccessError, FencedError
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Claim, Queue, Renewal
from windlass.models.reason import Reason
from windlass.models.run import LogLine, ResourceUsage, Run, RunState
from windlass.runners import RunnerState, RunStatus
from windlass_agent import limits, outcome
from windlass_agent.claims import Claims
from windlass_agent.logs import BuildOutput, Pump
from windlass_agent.prepare import Preparation, attempt_folder


class Store:
    """Stores log pieces the way a metadata store does."""

    def __init__(self) -> None:
        self.cursors: dict[str, str] = {}
        self.lines: list[LogLine] = []

    def log_cursor(self, run_id: str, source: str) -> str:
        return self.cursors.get(source, "")

    def append_log(self, run_id: str, lines: Any, source: str, before: str, after: str, fence: int) -> bool:
        if self.cursors.get(source, "") != before:
            return False
        self.lines += lines
        self.cursors[source] = after
        return True


def counted(total: int) -> Any:
    return lambda since: (LogLine(data=b"%d\n" % n, cursor=str(n + 1)) for n in range(int(since or 0), total))


def test_two_pumps_store_each_line_once() -> None:
    store: Any = Store()
    first = Pump(store, "r", "s", counted(2500), 1)
    second = Pump(store, "r", "s", counted(3000), 2)
    assert second.cursor == ""
    assert first.run() > 0
    while second.run():
        pass
    assert [line.data for line in store.lines] == [b"%d\n" % n for n in range(3000)]
    assert all(line.time for line in store.lines)


def test_build_output_goes_on_behind_an_earlier_build(tmp_path: Path) -> None:
    store: Any = Store()
    phases: list[str] = []
    for text in (b"first\npart", b"\xffsecond\n"):
        output = BuildOutput(tmp_path / "build.log", phases.append)
        pump = Pump(store, "r", "r/build", output.read, 1)
        output.start_at(pump.cursor)
        output.phase("building")
        output.write(text)
        while pump.run():
            pass
        output.close()
        output.write(b"late")
    assert b"".join(line.data for line in store.lines) == b"first\npart\xffsecond\n"
    assert phases == ["building", "building"]


class Queues:
    """Answers renewals as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.lost: tuple[str, ...] = ()

    def renew(self, agent: str, leases: Any, lease_seconds: float) -> Renewal:
        self.asked += [(lease.run_id, lease.fence) for lease in leases]
        return Renewal(lost=self.lost)


def claim(run_id: str, fence: int) -> Claim:
    return Claim(
        run=Run(id=run_id, fence=fence), queue=Queue(entity="e", name="q", resource="process"), lease_until=0.0
    )


def test_a_fresh_claim_is_not_asked_for_again() -> None:
    queues: Any = Queues()
    claims = Claims(queues, "a", 60.0, lambda answer, lost: None)
    (held,) = claims.take([claim("r", 1)], lease_clock())
    claims.ensure(held)
    assert queues.asked == []


def test_an_old_claim_is_made_sure_of() -> None:
    queues: Any = Queues()
    told: list[str] = []
    claims = Claims(queues, "a", 60.0, lambda answer, lost: told.extend(held.run_id for held in lost))
    (held,) = claims.take([claim("r", 1)], lease_clock() - 50.0)
    claims.ensure(held)
    assert queues.asked == [("r", 1)]
    assert held.until > lease_clock() + 50
    held.until = lease_clock()
    queues.lost = ("r",)
    with pytest.raises(FencedError):
        claims.ensure(held)
    assert told == ["r"]
    assert len(claims) == 0


def test_a_late_answer_does_not_hit_the_next_claim_of_the_run() -> None:
    queues: Any = Queues()
    claims = Claims(queues, "a", 60.0, lambda answer, lost: None)
    (old,) = claims.take([claim("r", 1)], lease_clock())
    (new,) = claims.take([claim("r", 2)], lease_clock())
    queues.lost = ("r",)
    claims._renew([old])
    assert old.lost.is_set()
    assert not new.lost.is_set()
    assert claims.all() == [new]


def test_limits_while_running() -> None:
    run = Run(id="r", created_at=100.0, started_at=200.0)
    starting = RunStatus(state=RunnerState.STARTING, reason=Reason(code="x", message="no node"))
    running = RunStatus(state=RunnerState.RUNNING, started_at=9.0)  # by a clock that is off
    policy = LaunchPolicy(start_timeout=10.0, attempt_timeout=20.0, deadline=150.0)

    def code(status: RunStatus, now: float) -> str:
        found = limits.while_running(policy, run, status, 195.0, now)
        return found.code if found else ""

    assert code(starting, 205.0) == ""
    assert code(starting, 205.1) == "start-timeout"
    assert code(running, 220.0) == ""
    assert code(running, 220.1) == "attempt-timeout"
    assert code(starting, 250.1) == "start-timeout"
    assert limits.while_running(LaunchPolicy(deadline=150.0), run, running, 195.0, 250.1).code == "deadline"  # type: ignore[union-attr]
    assert limits.while_running(LaunchPolicy(), run, running, 0.0, 1e12) is None
    never = limits.while_running(LaunchPolicy(start_timeout=0.0), run, starting, 195.0, 195.1)
    assert never is not None, "0 is a limit like any other, or it would evade the queue's bounds"
    assert never.code == "start-timeout"


def test_time_in_the_queue_ends_with_the_first_claim() -> None:
    policy = LaunchPolicy(queue_timeout=10.0)
    late = limits.before_start(policy, Run(id="r", queued_at=100.0, fence=1), 110.1)
    assert late is not None
    assert late.code == "queue-timeout"
    assert limits.before_start(policy, Run(id="r", queued_at=100.0, fence=2), 170.0) is None, "its first agent died"


def test_idle() -> None:
    watch = limits.IdleWatch(LaunchPolicy(idle_timeout=60.0, idle_cpu=0.1))

    def look(cpu: float, now: float) -> bool:
        return watch.look(ResourceUsage(cpu_seconds=cpu), now) is not None

    assert not look(0.0, 1000.0)
    assert not look(30.0, 1050.0), "it worked"
    assert not look(30.5, 1100.0)
    assert look(31.0, 1110.0)
    assert watch.look(None, 9999.0) is None


def test_a_busy_gpu_is_work() -> None:
    watch = limits.IdleWatch(LaunchPolicy(idle_timeout=60.0, idle_cpu=0.1))

    def look(gpu: float, now: float) -> bool:
        return watch.look(ResourceUsage(cpu_seconds=0.0, gpu_seconds=gpu), now) is not None

    assert not look(0.0, 1000.0)
    assert not look(30.0, 1070.0)
    assert look(30.0, 1140.0)


def test_outcomes() -> None:
    stopped = RunStatus(state=RunnerState.STOPPED)
    limit = Reason(code="deadline")
    assert outcome.of(stopped, outcome.STOPPED_BY_USER) == (RunState.KILLED, outcome.STOPPED_BY_USER)
    assert outcome.of(stopped, limit) == (RunState.FAILED, limit)
    assert outcome.of(stopped, None)[0] is RunState.KILLED
    assert outcome.of(RunStatus(state=RunnerState.FINISHED), limit)[0] is RunState.FINISHED
    for state in RunnerState:
        if state.is_terminal:
            assert outcome.of(RunStatus(state=state), None)[1].code


def test_the_clock_goes_on() -> None:
    before = lease_clock()
    time.sleep(0.01)
    assert lease_clock() > before


@pytest.mark.parametrize(
    ("remote", "store", "author", "allowed", "fetched"),
    [
        ("file:///repo", "https://windlass.example.com", "ann", False, False),
        ("file:///repo", "unix:///run/windlass", "ann", False, False),
        ("file:///repo", "https://windlass.example.com", "ann", True, True),
        ("file:///repo", "https://windlass.example.com", "robot", False, True),
        ("file:///repo", "sqlite:///x.db", "ann", False, True),
        ("https://git.example.com/repo", "https://windlass.example.com", "ann", False, True),
    ],
)
def test_repositories_of_its_machine_are_not_for_everybody(
    remote: str, store: str, author: str, allowed: bool, fetched: bool
) -> None:
    services: Any = SimpleNamespace(
        config=SimpleNamespace(local_repositories=allowed),
        app=SimpleNamespace(settings=SimpleNamespace(store_url=store)),
        store=SimpleNamespace(whoami=lambda: SimpleNamespace(name="robot")),
    )
    run = Run(id="r", entity="team", author=author)
    queue = Queue(entity="team", name="q", resource="process")
    preparation = Preparation(services, run, queue, "process", lambda _: None, SimpleNamespace())  # type: ignore[arg-type]
    if fetched:
        preparation._check_remote(remote)
    else:
        with pytest.raises(AccessError, match="does not fetch repositories of its machine for others"):
            preparation._check_remote(remote)


def test_two_that_hold_a_run_note_the_attempt_at_once(tmp_path: Path) -> None:
    services: Any = SimpleNamespace(work=tmp_path)
    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            both = [Run(id=f"r{number}", fence=fence) for fence in (1, 2)]
            one, other = pool.map(lambda run: attempt_folder(services, run, "process"), both)
            assert one == other
            assert [file.name for file in one.iterdir()] == ["run.json"]
