"""The fake runner keeps the contract of runners, and does what a test orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from windlass.errors import RunnerError
from windlass.models.run import RunHandle
from windlass.runners import RunnerState, RunSpec
from windlass.settings import Settings
from windlass_testkit.fakes import PLUGIN_FILE, Crash, FakeClock
from windlass_testkit.fakes.runner import FakeCluster, FakeRunner, cluster_named
from windlass_testkit.runners import RunnerContract


class TestFakeRunner(RunnerContract):
    name = "fake"
    plugin_files = (PLUGIN_FILE,)

    @pytest.fixture
    def leftovers(self, settings: Settings) -> Callable[[str], Sequence[str]]:
        cluster = cluster_named(str(settings.home))
        return lambda attempt_id: [attempt_id] if attempt_id in cluster.attempts else []

    @pytest.fixture
    def destroy(self, settings: Settings) -> Callable[[RunHandle], None]:
        return lambda handle: cluster_named(str(settings.home)).remove(handle.id)


def played(clock: FakeClock | None = None) -> FakeCluster:
    return FakeCluster(work=lambda attempt: None, clock=clock or FakeClock())


SPEC = RunSpec(run_id="r1", attempt_id="r1", command=("train",))


def test_a_test_plays_the_attempt() -> None:
    clock = FakeClock(100.0)
    runner = FakeRunner(played(clock))
    handle = runner.submit(SPEC)
    assert runner.poll([handle])[handle].state is RunnerState.STARTING
    attempt = runner.cluster.attempts["r1"]
    attempt.start()
    attempt.write(b"epoch 1\n")
    clock.advance(60)
    attempt.end(3)
    status = runner.poll([handle])[handle]
    assert (status.state, status.exit_code, status.started_at, status.finished_at) == (RunnerState.FAILED, 3, 100, 160)
    assert [line.data for line in runner.logs(handle)] == [b"epoch 1\n"]


def test_crash_after_submit_leaves_the_work_done() -> None:
    cluster = played()
    first = FakeRunner(cluster)
    first.faults.crash("submit", after=True)
    with pytest.raises(Crash):
        first.submit(SPEC)
    second = FakeRunner(cluster)
    found = second.find("r1")
    assert found is not None
    assert second.submit(SPEC) == found


def test_crash_before_submit_leaves_nothing() -> None:
    cluster = played()
    first = FakeRunner(cluster)
    first.faults.crash("submit")
    with pytest.raises(Crash):
        first.submit(SPEC)
    assert FakeRunner(cluster).find("r1") is None
    first.submit(SPEC)
    assert first.faults.count("submit") == 2


def test_flaky_works_again() -> None:
    runner = FakeRunner(played())
    handle = runner.submit(SPEC)
    runner.faults.fail("poll", RunnerError("no answer", retryable=True), times=2)
    for _ in range(2):
        with pytest.raises(RunnerError):
            runner.poll([handle])
    assert runner.poll([handle])[handle].state is RunnerState.STARTING


def test_stop_of_a_played_attempt() -> None:
    runner = FakeRunner(played())
    handle = runner.submit(SPEC)
    runner.stop(handle, 10.0)
    assert runner.poll([handle])[handle].state is RunnerState.STOPPED


def test_plugin_file_is_where_it_says() -> None:
    assert Path(PLUGIN_FILE).is_file()
