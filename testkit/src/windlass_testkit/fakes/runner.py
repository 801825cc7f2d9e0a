"""A runner without a backend: a cluster in this process, whose attempts are shell processes or are played by a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from attrs import define, field, frozen

from windlass.config import option
from windlass.config.converter import structure
from windlass.errors import RunnerError, RunNotFoundError, SubmitError, UnsupportedError
from windlass.models.reason import Reason
from windlass.runners import LogLine, RunHandle, Runner, RunnerState, RunSpec, RunStatus
from windlass_testkit.fakes.faults import Faults, faulty

__all__ = ["Attempt", "FakeCluster", "FakeResourceArgs", "FakeRunner", "FakeRunnerConfig", "run_command"]


@frozen(kw_only=True)
class FakeRunnerConfig:
    """Settings of the fake runner."""

    cluster: str = option(default="", help="Name of the cluster; runners of one name see each other's attempts.")


@frozen(kw_only=True)
class FakeResourceArgs:
    """Queue config of the fake runner."""

    cpus: float = option(default=1.0, help="Processor cores; not enforced.", minimum=0.0)


@define(eq=False)
class Attempt:
    """One attempt on a fake cluster. A test may play it: `start`, `write`, `end`."""

    spec: RunSpec
    clock: Callable[[], float]
    state: RunnerState = RunnerState.STARTING
    exit_code: int | None = None
    reason: Reason | None = None
    started_at: float = 0.0
    finished_at: float = 0.0
    stopping: bool = False
    pieces: list[LogLine] = field(factory=list)
    process: subprocess.Popen[bytes] | None = None
    over: threading.Event = field(factory=threading.Event)
    _lock: threading.Lock = field(factory=threading.Lock)

    def start(self) -> None:
        """The code runs."""
        self.state, self.started_at = RunnerState.RUNNING, self.clock()

    def write(self, data: bytes, stream: str = "stdout") -> None:
        """The code prints."""
        with self._lock:
            cursor = str(len(self.pieces) + 1)
            self.pieces.append(LogLine(stream=stream, data=data, cursor=cursor, time=self.clock()))

    def end(self, exit_code: int = 0, *, state: RunnerState | None = None, reason: Reason | None = None) -> None:
        """The code is over; without a state, as its exit code says."""
        if self.over.is_set():
            return
        self.exit_code, self.finished_at, self.reason = exit_code, self.clock(), reason
        if state is None and self.stopping:
            state, self.reason = RunnerState.STOPPED, Reason(code="stopped", message="it was asked to stop")
        elif state is None and exit_code:
            state, self.reason = RunnerState.FAILED, Reason(code="exit-code", message=f"ended with {exit_code}")
        self.state = state or RunnerState.FINISHED
        self.over.set()

    def signal(self, number: int) -> None:
        """Send a signal to the code; one that is played by a test ends."""
        if self.process is None:
            self.end(128 + number)
        elif not self.over.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


Work = Callable[[Attempt], None]
"""Starts an attempt and returns at once. Raises `SubmitError` when it cannot."""


def run_command(attempt: Attempt) -> None:
    """Run the attempt's command as a process with nothing but its own environment."""
    spec = attempt.spec
    try:
        attempt.process = subprocess.Popen(
            list(spec.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=spec.work_dir or None,
            env={"PATH": os.environ.get("PATH", os.defpath), **spec.env, **spec.secret_env},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SubmitError(f"cannot start {spec.command[:1]}: {error}", retryable=False) from error
    attempt.start()
    threading.Thread(target=_watch, args=(attempt, attempt.process), daemon=True).start()


def _watch(attempt: Attempt, process: subprocess.Popen[bytes]) -> None:
    def read(stream: str, pipe: IO[bytes]) -> None:
        with pipe:
            while data := os.read(pipe.fileno(), 65536):
                attempt.write(data, stream)

    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        threading.Thread(target=read, args=(name, pipe), daemon=True)
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr))
    ]
    for reader in readers:
        reader.start()
    code = process.wait()
    for reader in readers:
        reader.join()
    attempt.end(code if code >= 0 else 128 - code)


class FakeCluster:
    """Where attempts live. Runners on the same cluster are agents in different processes.

    Args:
        work: Starts an attempt; `run_command` by default. ``lambda attempt: None`` leaves it to the test to play it.
        clock: Seconds since the epoch.

    Attributes:
        attempts: What exists, by attempt id.
    """

    def __init__(self, work: Work = run_command, clock: Callable[[], float] = time.time) -> None:
        self.work = work
        self.clock = clock
        self.attempts: dict[str, Attempt] = {}
        self._lock = threading.Lock()

    def start(self, spec: RunSpec) -> Attempt:
        """Start an attempt, unless there is one of that name already."""
        with self._lock:
            attempt = self.attempts.get(spec.attempt_id)
            if attempt is None:
                spec.check_in_time()
                attempt = Attempt(spec=spec, clock=self.clock)
                self.work(attempt)
                self.attempts[spec.attempt_id] = attempt
            return attempt

    def remove(self, attempt_id: str) -> None:
        """End an attempt and forget it, as a broken node does."""
        with self._lock:
            attempt = self.attempts.pop(attempt_id, None)
        if attempt is not None and not attempt.over.is_set():
            attempt.signal(signal.SIGKILL)
            attempt.over.wait(10.0)


_clusters: dict[str, FakeCluster] = {}


def cluster_named(name: str) -> FakeCluster:
    """The cluster of a name, made when it is asked for first."""
    return _clusters.setdefault(name, FakeCluster())


@faulty
class FakeRunner(Runner):
    """Runs attempts on a `FakeCluster`.

    Attributes:
        faults: Calls so far, and what shall go wrong.
    """

    def __init__(self, cluster: FakeCluster | None = None, *, name: str = "fake") -> None:
        self.cluster = cluster or FakeCluster()
        self.name = name
        self.faults = Faults()

    def submit(self, spec: RunSpec) -> RunHandle:
        structure(dict(spec.resource_args), FakeResourceArgs, where="$.resource_args")
        if spec.mounts:
            raise UnsupportedError("the fake runner has no mounts")
        if not spec.command:
            raise SubmitError("there is nothing to run: no command", hint="Give an entry point.", retryable=False)
        self.cluster.start(spec)
        return RunHandle(runner=self.name, id=spec.attempt_id)

    def find(self, attempt_id: str) -> RunHandle | None:
        return RunHandle(runner=self.name, id=attempt_id) if attempt_id in self.cluster.attempts else None

    def poll(self, handles: Sequence[RunHandle]) -> Mapping[RunHandle, RunStatus]:
        return {handle: self._status(handle) for handle in handles}

    def logs(self, handle: RunHandle, since: str = "") -> Iterator[LogLine]:
        attempt = self.cluster.attempts.get(handle.id)
        if attempt is None:
            raise RunNotFoundError(f"there is no attempt '{handle.id}'")
        try:
            start = int(since or 0)
        except ValueError:
            raise RunnerError(f"{since!r} is no cursor of this runner") from None
        return iter(attempt.pieces[start:])

    def stop(self, handle: RunHandle, grace: float) -> None:
        attempt = self.cluster.attempts.get(handle.id)
        if attempt is None or attempt.over.is_set() or attempt.stopping:
            return
        attempt.stopping = True
        attempt.signal(signal.SIGTERM)
        threading.Thread(target=_kill_after, args=(attempt, grace), daemon=True).start()

    def cleanup(self, handle: RunHandle) -> None:
        self.cluster.remove(handle.id)

    def _status(self, handle: RunHandle) -> RunStatus:
        attempt = self.cluster.attempts.get(handle.id)
        if attempt is None:
            return RunStatus(
                state=RunnerState.LOST, reason=Reason(code="lost", message=f"attempt '{handle.id}' is gone")
            )
        over = attempt.over.is_set()  # read first: what is read then belongs to that state
        facts: dict[str, Any] = {"started_at": attempt.started_at}
        if over:
            facts |= {"exit_code": attempt.exit_code, "finished_at": attempt.finished_at}
        state = attempt.state if over or not attempt.state.is_terminal else RunnerState.RUNNING
        return RunStatus(state=state, reason=attempt.reason if over else None, **facts)


def _kill_after(attempt: Attempt, grace: float) -> None:
    if not attempt.over.wait(grace):
        attempt.signal(signal.SIGKILL)
