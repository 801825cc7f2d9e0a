"""A run here and now: an agent in this process on a queue of its own, and the run's output on stdout."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from windlass_cli import shapes
from windlass_cli.output import note
from windlass_cli.state import State

if TYPE_CHECKING:
    from windlass.launch.request import LaunchRequest
    from windlass.models.run import Run
    from windlass_agent.agent import Agent

__all__ = ["need_agent", "run_here", "serve", "take_over", "tell_end", "watch"]


def run_here(state: State, request: LaunchRequest, *, quiet: bool, said: str = "") -> Run:
    """Submit to a private queue, serve it with an agent in this process, and wait for the end of the run.

    `said` is told once the request is accepted.

    Ctrl-C stops the run in good order; a second one leaves at once.
    """
    from windlass.launch.submit import submit

    need_agent("running here")
    run = submit(request, app=state.app, store=state.store, engine=state.engine)
    if said:  # only now: what is refused does not run
        note(said)
    return serve(state, run, quiet=quiet)


def serve(state: State, run: Run, *, quiet: bool) -> Run:
    """Serve a run on a private queue with an agent in this process, wait for its end, and remove the queue."""
    from windlass.launch.private import discard

    try:
        need_agent("running here")
        agent = _agent(state, run)
        work = _Work(agent)
        work.start()
        try:
            ended = watch(state, run, quiet=quiet, work=work)
        finally:
            agent.stop()
            work.join(60)
        return ended
    finally:
        discard(run, state.store)


def take_over(state: State, run: Run) -> None:
    """See a run to its end whose agent is gone, with an agent in this process. Returns when it is over."""
    from windlass.launch.private import discard

    need_agent("taking a run over")
    _agent(state, run, run=run.id).run()
    discard(run, state.store)


def need_agent(what: str) -> None:
    """Raise `PluginNotFoundError` where there is no agent."""
    import importlib.util

    from windlass.errors import PluginNotFoundError

    if importlib.util.find_spec("windlass_agent") is None:
        raise PluginNotFoundError(f"{what} needs an agent, which is not installed", hint="pip install windlass-agent")


def tell_end(state: State, run: Run) -> None:
    """Say how a run ended, and which artifacts it made."""
    from windlass.models.artifact import EdgeKind
    from windlass.models.run import RunState

    duration = shapes.duration(run)
    note(f"Run {run.id} {run.state}" + (f" after {duration:.1f} s." if duration is not None else "."))
    if run.reason is not None and run.state is not RunState.FINISHED:
        note(f"  {run.reason.code}: {run.reason.message}" + (f"\n  hint: {run.reason.hint}" if run.reason.hint else ""))
    for edge in state.store.artifacts.edges(run_id=run.id, kind=EdgeKind.OUTPUT):
        note(f"  artifact {state.store.artifacts.get_by_id(edge.version).path}")


def _agent(state: State, served: Run, *, run: str = "") -> Agent:
    from windlass_agent.agent import Agent
    from windlass_agent.config import load

    flags = {"queues": (served.queue,), "entity": served.entity, "max_jobs": 1, "drain": True}
    return Agent(load(None, flags), state.app, state.store, run=run, patient=False)  # somebody sits in front of it


class _Work(threading.Thread):
    """The agent's thread; keeps what ended it."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(name="windlass-agent", daemon=True)
        self._agent = agent
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._agent.run()
        except Exception as error:
            self.error = error


def watch(state: State, run: Run, *, quiet: bool, work: _Work | None = None) -> Run:
    """Copy the run's output to stdout and its phases to a terminal until it is over. Ctrl-C stops the run.

    Raises:
        WindlassError: The agent in this process ended before the run.
    """
    from windlass.sdk.session import patiently

    start, delay, interrupted = 0, 0.02, False
    with _sigterm(), _Status() as status:
        while True:
            try:
                page = patiently(lambda at=start: state.store.runs.read_log(run.id, at))  # type: ignore[misc]
                if page.lines and not quiet:
                    status.write(b"".join(line.data for line in page.lines if line.stream != "build"))
                start = page.next if page.lines else start
                if page.ended and not page.lines:
                    break
                found = patiently(lambda: state.store.runs.get(run.id))
                status.say(f"run {found.id}: {found.phase or found.state}")
                if work is not None and not work.is_alive() and not found.state.is_terminal:
                    if work.error is not None:
                        raise work.error
                    break
                if not page.lines:
                    time.sleep(delay)
                    delay = min(delay * 1.3, 0.3)
                else:
                    delay = 0.02
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                note(f"Stopping run {run.id} … (again: leave at once)")
                state.store.runs.request_stop(run.id)
    if interrupted:
        raise KeyboardInterrupt
    return patiently(lambda: state.store.runs.get(run.id))


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM stops the run as Ctrl-C does."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Status:
    """One line on a terminal that says what happens; nothing in a pipe."""

    def __enter__(self) -> Self:
        self._status: Any = None
        self._text = ""
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Show `text` in place of what was shown."""
        if self._status is not None and text != self._text:
            self._text = text
            self._status.update(text)

    def write(self, data: bytes) -> None:
        """Copy output to stdout without mixing it with the status line."""
        if self._status is not None and sys.stdout.isatty():
            self._status.stop()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        if self._status is not None and sys.stdout.isatty():
            self._status.start()
