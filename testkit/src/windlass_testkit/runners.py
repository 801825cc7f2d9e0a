"""The contract of runners: what an agent relies on, tested with plain shell commands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from attrs import evolve

from windlass import wire
from windlass.clock import lease_clock
from windlass.errors import FencedError, RunNotFoundError, WindlassError
from windlass.ids import new_run_id
from windlass.plugins.app import App
from windlass.plugins.types import RunnerPlugin
from windlass.runners import LogLine, RunHandle, Runner, RunnerCapabilities, RunnerState, RunSpec, RunStatus
from windlass_testkit.base import Contract
from windlass_testkit.waiting import eventually

__all__ = ["RunnerContract"]

SECRET = "s3cr3t-hunter2"


class RunnerContract(Contract):
    """Subclass it, set `name`, and give the fixtures `leftovers` and `destroy` (and `visible`, where there is one).

    Jobs are commands for a POSIX shell; a runner that needs an image gets the one named by `image`. Output is asked
    for once its line has ended, and a last line without an end may get one: many engines log by lines.

    Attributes:
        image: Image with ``sh``, ``printf``, ``sleep`` and ``kill``; for runners that need one.
        time_limit: Seconds within which a job must have started and ended.
    """

    kind = "runner"
    image: ClassVar[str] = ""
    time_limit: ClassVar[float] = 30.0

    # -- what the subclass gives ------------------------------------------------------------------------------

    @pytest.fixture
    def leftovers(self) -> Callable[[str], Sequence[str]]:
        """Probe past the runner: what exists of an attempt (containers, processes, files), by attempt id."""
        raise NotImplementedError("give a fixture `leftovers`")

    @pytest.fixture
    def destroy(self) -> Callable[[RunHandle], None]:
        """Make the resource of a running attempt disappear behind the runner's back."""
        raise NotImplementedError("give a fixture `destroy`")

    @pytest.fixture
    def visible(self) -> Callable[[RunHandle], str]:
        """What everybody on the machine or in the cluster can see of an attempt: argv, labels, names."""
        return lambda handle: ""

    # -- what the suite uses ----------------------------------------------------------------------------------

    @pytest.fixture
    def make_runner(self, app: App, config: Mapping[str, Any]) -> Iterator[Callable[[], Runner]]:
        """Makes runners that know nothing of each other, as agents in different processes do."""
        made: list[Runner] = []

        def make() -> Runner:
            made.append(app.create_runner(self.name, config))
            return made[-1]

        yield make
        for runner in made:
            runner.close()
            runner.close()

    @pytest.fixture
    def runner(self, make_runner: Callable[[], Runner]) -> Runner:
        """The runner under test."""
        return make_runner()

    @pytest.fixture
    def capabilities(self, descriptor: RunnerPlugin[Any]) -> RunnerCapabilities:
        """What the descriptor says the runner can do."""
        return descriptor.capabilities

    @pytest.fixture
    def shell(self, make_runner: Callable[[], Runner], capabilities: RunnerCapabilities) -> Iterator[Any]:
        """Makes specs that run a shell script; what was started is removed after the test."""
        specs: list[RunSpec] = []

        def make(script: str, **changes: Any) -> RunSpec:
            run_id = new_run_id()
            spec = RunSpec(
                run_id=run_id,
                attempt_id=run_id,
                entity="kit",
                project="contract",
                queue="q",
                command=("sh", "-c", script),
                image=self.image if capabilities.needs_image else "",
                stop_grace=2.0,
            )
            specs.append(evolve(spec, **changes))
            return specs[-1]

        yield make
        runner = make_runner()
        for spec in specs:
            handle = runner.find(spec.attempt_id)
            if handle is not None:
                runner.cleanup(handle)

    def wait(self, runner: Runner, handle: RunHandle, *states: RunnerState) -> RunStatus:
        """Poll until the attempt is over, or in one of the states. Fails when that takes too long."""
        limit = time.monotonic() + self.time_limit
        while True:
            status = runner.poll([handle])[handle]
            if status.state.is_terminal or status.state in states:
                return status
            assert time.monotonic() < limit, f"still {status.state} after {self.time_limit:g} s"
            time.sleep(0.02)

    def output(self, runner: Runner, handle: RunHandle, stream: str = "stdout", since: str = "") -> bytes:
        """All output of one stream."""
        return b"".join(line.data for line in runner.logs(handle, since) if line.stream == stream)

    def until_output(self, runner: Runner, handle: RunHandle, wanted: bytes) -> None:
        """Wait until the job has printed something."""
        limit = time.monotonic() + self.time_limit
        while wanted not in self.output(runner, handle):
            assert time.monotonic() < limit, f"no {wanted!r} in {self.output(runner, handle)!r}"
            time.sleep(0.02)

    # -- ends -------------------------------------------------------------------------------------------------

    def test_success(self, runner: Runner, shell: Any) -> None:
        before = time.time()
        handle = runner.submit(shell("exit 0"))
        status = self.wait(runner, handle)
        assert status.state is RunnerState.FINISHED
        assert status.exit_code in (0, None)
        for moment in filter(None, (status.started_at, status.finished_at)):
            assert before - 60 < moment < time.time() + 60

    def test_failure_has_exit_code_and_reason(
        self, runner: Runner, shell: Any, capabilities: RunnerCapabilities
    ) -> None:
        status = self.wait(runner, handle := runner.submit(shell("exit 37")))
        assert status.state is RunnerState.FAILED
        assert status.reason is not None
        assert status.reason.code == "exit-code"
        assert "37" in status.reason.message
        if capabilities.exit_code:
            assert status.exit_code == 37
        assert runner.poll([handle])[handle] == status, "an end does not change"

    def test_killed_by_a_signal(self, runner: Runner, shell: Any, capabilities: RunnerCapabilities) -> None:
        status = self.wait(runner, runner.submit(shell("sh -c 'kill -9 $$'; exit $?")))
        assert status.state is RunnerState.FAILED
        assert status.reason is not None
        if capabilities.exit_code:
            assert status.exit_code == 128 + 9

    def test_command_that_does_not_exist(
        self, runner: Runner, shell: Any, leftovers: Callable[[str], Sequence[str]]
    ) -> None:
        spec = shell("", command=("no-such-program-here",))
        refused: WindlassError | None = None
        try:
            handle = runner.submit(spec)
        except WindlassError as error:
            refused = error
        if refused is None:
            assert self.wait(runner, handle).state is RunnerState.FAILED
        else:
            assert "no-such-program-here" in str(refused)
            assert not refused.retryable
            eventually(lambda: not leftovers(spec.attempt_id), 10)  # a refused submission leaves nothing

    def test_unknown_resource_argument_is_refused(
        self, runner: Runner, shell: Any, descriptor: Any, leftovers: Callable[[str], Sequence[str]]
    ) -> None:
        spec = shell("exit 0", resource_args={"no-such-argument": 1})
        with pytest.raises(WindlassError) as caught:
            self.wait(runner, runner.submit(spec))
        assert not caught.value.retryable
        assert "no-such-argument" in str(caught.value)
        eventually(lambda: not leftovers(spec.attempt_id), 10)

    # -- once -------------------------------------------------------------------------------------------------

    def test_submit_twice_starts_once(self, make_runner: Callable[[], Runner], shell: Any) -> None:
        spec = shell("printf 'once '; sleep 1")
        first, second = make_runner(), make_runner()
        handle = first.submit(spec)
        assert second.submit(spec) == handle
        assert self.wait(first, handle).state is RunnerState.FINISHED
        assert second.submit(spec) == handle, "also after its end, until cleanup"
        assert self.output(second, handle).strip() == b"once"

    def test_submit_from_two_agents_at_once(self, make_runner: Callable[[], Runner], shell: Any) -> None:
        spec = shell("printf 'once '")
        runners = [make_runner() for _ in range(4)]
        with ThreadPoolExecutor(len(runners)) as pool:
            handles = list(pool.map(lambda runner: runner.submit(spec), runners))
        assert len(set(handles)) == 1
        assert self.wait(runners[0], handles[0]).state is RunnerState.FINISHED
        assert self.output(runners[0], handles[0]).strip() == b"once"

    def test_nothing_is_started_too_late(
        self, runner: Runner, shell: Any, leftovers: Callable[[str], Sequence[str]]
    ) -> None:
        """An agent that was frozen on its way to `submit` must not start what its successor has finished."""
        spec = shell("echo again", not_after=lease_clock() - 0.01)
        with pytest.raises(FencedError):
            runner.submit(spec)
        assert runner.find(spec.attempt_id) is None
        eventually(lambda: not leftovers(spec.attempt_id), 10)
        handle = runner.submit(evolve(spec, not_after=lease_clock() + self.time_limit))
        assert self.wait(runner, handle).state is RunnerState.FINISHED
        assert self.output(runner, handle) == b"again\n"

    def test_find(self, make_runner: Callable[[], Runner], shell: Any) -> None:
        runner = make_runner()
        assert runner.find(new_run_id()) is None
        spec = shell("sleep 1; exit 3")
        handle = runner.submit(spec)
        other = make_runner()
        found = other.find(spec.attempt_id)
        assert found == handle
        assert self.wait(other, found).state is RunnerState.FAILED
        assert make_runner().find(spec.attempt_id) == handle, "finished attempts are found until cleanup"

    def test_attempts_are_apart(self, runner: Runner, shell: Any) -> None:
        first = shell("exit 1")
        second = evolve(first, attempt=2, attempt_id=f"{first.run_id}-2", command=("sh", "-c", "exit 0"))
        one, two = runner.submit(first), runner.submit(second)
        try:
            assert one != two
            assert self.wait(runner, one).state is RunnerState.FAILED
            assert self.wait(runner, two).state is RunnerState.FINISHED
        finally:
            runner.cleanup(two)

    def test_handle_survives_json(self, make_runner: Callable[[], Runner], shell: Any) -> None:
        spec = shell("printf hi; exit 4")
        handle = make_runner().submit(spec)
        again = wire.decode(wire.encode(handle), RunHandle)
        assert again == handle
        assert again.id == spec.attempt_id
        assert again.runner == self.name
        other = make_runner()
        assert self.wait(other, again).state is RunnerState.FAILED
        assert self.output(other, again).removesuffix(b"\n") == b"hi"
        other.cleanup(again)
        assert other.find(spec.attempt_id) is None

    # -- poll -------------------------------------------------------------------------------------------------

    def test_poll_many(self, runner: Runner, shell: Any) -> None:
        handles = [runner.submit(shell(f"exit {code}")) for code in (0, 1, 0)]
        ghost = RunHandle(runner=self.name, id=new_run_id(), data=dict(handles[0].data))
        for handle in handles:
            self.wait(runner, handle)
        answer = runner.poll([*handles, ghost])
        assert set(answer) == {*handles, ghost}
        states = [answer[handle].state for handle in handles]
        assert states == [RunnerState.FINISHED, RunnerState.FAILED, RunnerState.FINISHED]
        assert answer[ghost].state is RunnerState.LOST
        assert runner.poll([]) == {}

    def test_lost(self, runner: Runner, shell: Any, destroy: Callable[[RunHandle], None]) -> None:
        handle = runner.submit(shell("sleep 60"))
        self.wait(runner, handle, RunnerState.RUNNING)
        destroy(handle)
        status = self.wait(runner, handle)
        assert status.state is RunnerState.LOST
        assert status.reason is not None
        assert status.reason.message

    def test_usage(self, runner: Runner, shell: Any, capabilities: RunnerCapabilities) -> None:
        # It lasts until its usage was told, which takes some engines seconds; those that tell at the end wait for that.
        script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 5"
        handle = runner.submit(shell(script))
        usage = None
        while not (status := runner.poll([handle])[handle]).state.is_terminal:
            if usage is None and status.usage is not None and status.usage.cpu_seconds:
                usage = status.usage
                runner.stop(handle, 5.0)
            time.sleep(0.02)
        usage = status.usage or usage
        if capabilities.usage:
            assert usage is not None
            assert usage.cpu_seconds is not None
            assert usage.cpu_seconds > 0

    # -- stop -------------------------------------------------------------------------------------------------

    def test_stop_delivers_sigterm(self, runner: Runner, shell: Any, capabilities: RunnerCapabilities) -> None:
        handle = runner.submit(shell("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"))
        self.until_output(runner, handle, b"ready")
        began = time.monotonic()
        runner.stop(handle, 20.0)
        assert time.monotonic() - began < 5.0, "stop does not wait"
        assert self.wait(runner, handle).state is RunnerState.STOPPED
        if capabilities.stop_signal and capabilities.logs_after_exit:
            assert self.output(runner, handle) == b"ready\nbye\n"

    def test_stop_right_after_submit(self, runner: Runner, shell: Any) -> None:
        # Who is not there yet to hear the signal must not live out the grace.
        for _ in range(5):
            handle = runner.submit(shell("sleep 60"))
            runner.stop(handle, 50.0)
            assert self.wait(runner, handle).state is RunnerState.STOPPED

    def test_stop_kills_what_ignores_sigterm(self, runner: Runner, shell: Any) -> None:
        # Silent, too: nothing that it does would wake up a reader of its output.
        handle = runner.submit(shell("trap '' TERM; echo ready; while :; do sleep 0.05; done"))
        self.until_output(runner, handle, b"ready")
        runner.stop(handle, 0.5)
        runner.stop(handle, 0.5)
        assert self.wait(runner, handle).state is RunnerState.STOPPED

    def test_stop_after_the_end_changes_nothing(self, runner: Runner, shell: Any) -> None:
        handle = runner.submit(shell("exit 0"))
        self.wait(runner, handle)
        runner.stop(handle, 1.0)
        runner.stop(handle, 1.0)
        assert runner.poll([handle])[handle].state is RunnerState.FINISHED

    def test_stop_of_a_stranger(self, runner: Runner) -> None:
        runner.stop(RunHandle(runner=self.name, id=new_run_id()), 1.0)

    # -- output -----------------------------------------------------------------------------------------------

    def test_any_bytes_survive(self, runner: Runner, shell: Any, capabilities: RunnerCapabilities) -> None:
        handle = runner.submit(shell(r"printf 'a\n\377\376\n\nb\rc\000d\303'; printf 'oops' >&2; sleep 0.5"))
        self.wait(runner, handle)
        if capabilities.logs_after_exit:
            assert self.output(runner, handle).removesuffix(b"\n") == b"a\n\xff\xfe\n\nb\rc\x00d\xc3"
            assert self.output(runner, handle, "stderr").removesuffix(b"\n") == b"oops"

    def test_cursor_goes_on_without_gap_or_repeat(
        self, make_runner: Callable[[], Runner], shell: Any, capabilities: RunnerCapabilities
    ) -> None:
        runner = make_runner()
        spec = shell("i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; [ $((i % 50)) = 0 ] && sleep 0.1; done")
        handle = runner.submit(spec)
        pieces: list[LogLine] = []
        while True:
            over = runner.poll([handle])[handle].state.is_terminal
            fresh = runner.logs(handle, pieces[-1].cursor if pieces else "")
            # Half of what is there is taken, by a reader that knows nothing but the cursor.
            pieces += list(fresh) if over else [line for line, _ in zip(fresh, range(17), strict=False)]
            if over:
                break
            runner = make_runner()
        assert b"".join(p.data for p in pieces) == b"".join(b"line %d\n" % i for i in range(1, 301))
        assert all(p.cursor for p in pieces)
        if capabilities.logs_after_exit:
            middle = len(pieces) // 2
            again = b"".join(line.data for line in runner.logs(handle, pieces[middle].cursor))
            assert again == b"".join(p.data for p in pieces[middle + 1 :])
            assert not list(runner.logs(handle, pieces[-1].cursor))

    def test_long_lines(self, runner: Runner, shell: Any, capabilities: RunnerCapabilities) -> None:
        handle = runner.submit(
            shell("x=xxxxxxxxxxxxxxxx; i=0; while [ $i -lt 14 ]; do i=$((i+1)); x=$x$x; done; printf %s $x; echo end")
        )
        self.wait(runner, handle)
        if capabilities.logs_after_exit:
            assert self.output(runner, handle) == b"x" * (16 << 14) + b"end\n"

    def test_logs_of_a_stranger(self, runner: Runner) -> None:
        with pytest.raises(RunNotFoundError):
            list(runner.logs(RunHandle(runner=self.name, id=new_run_id())))

    # -- environment and secrets ------------------------------------------------------------------------------

    def test_environment(self, runner: Runner, shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AGENT_ONLY_SECRET", "leaked")
        spec = shell(
            'printf \'%s|%s|%s\\n\' "$PLAIN" "$ODD" "${AGENT_ONLY_SECRET-unset}"',
            env={"PLAIN": "value", "ODD": "a 'b' \"c\" $HOME `id` \\ ü\nnew line"},
        )
        handle = runner.submit(spec)
        self.until_output(runner, handle, b"unset")
        assert self.output(runner, handle).decode() == f"value|{spec.env['ODD']}|unset\n"

    def test_secrets_reach_the_job_and_nobody_else(
        self, runner: Runner, shell: Any, visible: Callable[[RunHandle], str]
    ) -> None:
        spec = shell(
            '[ "$TOKEN" = "$(printf %s s3cr3t)-hunter2" ] && echo known; sleep 2', secret_env={"TOKEN": SECRET}
        )
        assert SECRET not in repr(spec)
        handle = runner.submit(spec)
        self.until_output(runner, handle, b"known")
        assert SECRET not in wire.encode(handle).decode()
        assert SECRET not in repr(runner.poll([handle]))
        assert SECRET not in visible(handle)

    # -- the end of it ----------------------------------------------------------------------------------------

    def test_cleanup_leaves_nothing(
        self, runner: Runner, shell: Any, leftovers: Callable[[str], Sequence[str]]
    ) -> None:
        spec = shell("printf hi", secret_env={"TOKEN": SECRET})
        handle = runner.submit(spec)
        assert leftovers(spec.attempt_id), "the probe must see what is there, else it proves nothing"
        self.wait(runner, handle)
        runner.cleanup(handle)
        runner.cleanup(handle)
        assert not leftovers(spec.attempt_id)
        assert runner.find(spec.attempt_id) is None
        assert runner.poll([handle])[handle].state is RunnerState.LOST

    def test_cleanup_ends_what_runs(
        self, runner: Runner, shell: Any, leftovers: Callable[[str], Sequence[str]]
    ) -> None:
        spec = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        handle = runner.submit(spec)
        self.until_output(runner, handle, b"ready")
        runner.cleanup(handle)
        assert not leftovers(spec.attempt_id)

    def test_close_lets_it_run(self, make_runner: Callable[[], Runner], shell: Any) -> None:
        runner = make_runner()
        handle = runner.submit(shell("sleep 1; printf done"))
        runner.close()
        other = make_runner()
        assert self.wait(other, handle).state is RunnerState.FINISHED

    def test_check(self, runner: Runner) -> None:
        runner.check()

    # -- capabilities -----------------------------------------------------------------------------------------

    def test_local_mounts(self, runner: Runner, shell: Any, capabilities: RunnerCapabilities, tmp_path: Any) -> None:
        from windlass.runners import Mount

        (tmp_path / "given").mkdir()
        (tmp_path / "given" / "file").write_text("here")
        os.chmod(tmp_path, 0o755)
        spec = shell("cat /run/contract/file", mounts=(Mount(source=f"{tmp_path}/given", target="/run/contract"),))
        if capabilities.local_mounts:
            handle = runner.submit(spec)
            assert self.wait(runner, handle).state is RunnerState.FINISHED
            assert self.output(runner, handle).removesuffix(b"\n") == b"here"
        else:
            with pytest.raises(WindlassError):
                runner.submit(spec)

    def test_needs_image(self, runner: Runner, shell: Any, capabilities: RunnerCapabilities) -> None:
        if capabilities.needs_image:
            with pytest.raises(WindlassError, match="image"):
                runner.submit(shell("exit 0", image=""))
        else:
            assert self.wait(runner, runner.submit(shell("exit 0"))).state is RunnerState.FINISHED
