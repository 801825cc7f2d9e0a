"""Launching a run and seeing it through: logs, the end, cancellation, what it made."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from attrs import frozen

from dagster_windlass.client import WindlassClient
from dagster_windlass.errors import WindlassLaunchError
from windlass.models.artifact import EdgeKind
from windlass.models.run import Run, RunState

if TYPE_CHECKING:
    from windlass.launch.request import LaunchRequest
    from windlass_agent.agent import Agent

__all__ = ["LaunchOutcome", "WorkingAgent", "launch", "wait_for"]

Sift = Callable[[Sequence[str]], list[str]]

_TAIL_LINES = 50
_POLL = (0.05, 1.0)
"""Seconds between looks at the run: at first, and at most."""
_STOP_PATIENCE = 60.0


@frozen(kw_only=True)
class LaunchOutcome:
    """A launched run and what it made.

    Attributes:
        run: The run, over or not.
        artifacts: Paths ``entity/project/name:v<N>`` of its outputs.
    """

    run: Run
    artifacts: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        run = self.run
        return {
            "run_id": run.id,
            "state": str(run.state),
            "exit_code": run.exit_code,
            "queue": run.queue,
            "job": run.job,
            "artifacts": list(self.artifacts),
        }

    def metadata(self, client: WindlassClient) -> dict[str, Any]:
        """As Dagster metadata."""
        run = self.run
        page = client.page(run.entity, run.project, run.id)
        return {
            "windlass_run_id": run.id,
            "windlass_run_name": run.name,
            "windlass_run_path": f"{run.entity}/{run.project}/{run.id}",
            "windlass_run_url": dg.MetadataValue.url(page) if client.host else page,
            "windlass_run_state": str(run.state),
            "windlass_queue": run.queue,
            "windlass_job": run.job,
            "windlass_artifacts": dg.MetadataValue.json(list(self.artifacts)),
            **({"windlass_exit_code": run.exit_code} if run.exit_code is not None else {}),
        }


def launch(
    client: WindlassClient,
    request: LaunchRequest,
    log: Any,
    *,
    wait: bool = True,
    timeout: float | None = None,
    sift: Sift | None = None,
) -> LaunchOutcome:
    """Launch; with a queue for an agent anywhere, without one for an agent in this process.

    Args:
        client: The store.
        request: What to launch.
        log: Dagster's logger; gets the run's output line by line.
        wait: See the run through. Without a queue this is always done.
        timeout: Seconds to wait; then the run is stopped and the call fails. None: no limit.
        sift: Given lines of output; returns those that are to be shown.

    Raises:
        dagster.Failure: The run did not finish well; with exit code and the end of the log.
        WindlassError: It could not be launched. Nothing was queued.
    """
    from windlass.launch.private import discard
    from windlass.launch.submit import submit

    run = submit(request, app=client.app, store=client.store, engine=client.engine)
    if request.queue:
        return wait_for(client, run, log, timeout=timeout, sift=sift) if wait else LaunchOutcome(run=run)
    try:
        with WorkingAgent(client, queues=[run.queue], entity=run.entity, max_jobs=1, drain=True) as work:
            return wait_for(client, run, log, timeout=timeout, work=work, sift=sift)
    finally:
        discard(client.store.runs.get(run.id), client.store)


def wait_for(
    client: WindlassClient,
    run: Run,
    log: Any,
    *,
    timeout: float | None = None,
    work: WorkingAgent | None = None,
    sift: Sift | None = None,
) -> LaunchOutcome:
    """See a run through. When this is interrupted (Dagster cancels, Ctrl-C), the run is stopped first.

    Raises:
        dagster.Failure: The run did not finish well, or not in time.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def show(lines: list[str]) -> None:
        shown = sift(lines) if sift is not None else lines
        tail.extend(shown)
        if shown:
            log.info("%s", "\n".join(shown))

    try:
        log.info("Launched Windlass run %s on queue %s.", run.id, run.queue)
        ended = _follow(client, run, log, show, timeout, work)
    except BaseException:
        with contextlib.suppress(Exception):
            log.info("Stopping Windlass run %s.", run.id)
        _stop(client, run)
        raise
    outcome = LaunchOutcome(run=ended, artifacts=_outputs(client, ended))
    if ended.state is RunState.FINISHED:
        return outcome
    raise _failure(client, outcome, tail)


def _follow(
    client: WindlassClient,
    run: Run,
    log: Any,
    show: Callable[[list[str]], None],
    timeout: float | None,
    work: WorkingAgent | None,
) -> Run:
    runs = client.store.runs
    deadline = None if timeout is None else time.monotonic() + timeout
    start, delay, state, rest = 0, _POLL[0], "", ""
    while True:
        page = runs.read_log(run.id, start)
        if page.lines:
            start, delay = page.next, _POLL[0]
            *lines, rest = (rest + b"".join(line.data for line in page.lines).decode(errors="replace")).split("\n")
            show(lines)
            continue
        if page.ended:
            show([rest] if rest else [])
            return runs.get(run.id)
        found = runs.get(run.id)
        now = str(found.phase or found.state)
        if now != state:
            state = now
            log.info("Windlass run %s: %s", run.id, f"{state} ({found.reason.message})" if found.reason else state)
        if work is not None and not work.is_alive() and not found.state.is_terminal:
            raise work.error or WindlassLaunchError(
                f"the agent ended before run {run.id}", code="agent-ended", hint="See its log."
            )
        if deadline is not None and time.monotonic() > deadline:
            raise dg.Failure(
                f"Windlass run {run.id} is {state} after {timeout:g} s; it is stopped.",
                metadata={"windlass_run_id": run.id, "windlass_run_state": state},
            )
        time.sleep(delay)
        delay = min(delay * 1.3, _POLL[1])


def _stop(client: WindlassClient, run: Run) -> None:
    """Ask for the end of a run and give it some time, so that nothing runs on unseen."""
    with contextlib.suppress(Exception):
        client.store.runs.request_stop(run.id)
        deadline = time.monotonic() + _STOP_PATIENCE
        while time.monotonic() < deadline and not client.store.runs.get(run.id).state.is_terminal:
            time.sleep(0.1)


def _failure(client: WindlassClient, outcome: LaunchOutcome, tail: deque[str]) -> dg.Failure:
    run = outcome.run
    why = f"{run.reason.message}" if run.reason else ""
    code = f" with exit code {run.exit_code}" if run.exit_code is not None else ""
    text = f"Windlass run {run.id} {run.state}{code}" + (f": {why}" if why else "")
    if run.reason and run.reason.hint:
        text += f"\nhint: {run.reason.hint}"
    if tail:
        text += "\nEnd of its log:\n" + "\n".join(tail)
    facts = {**outcome.metadata(client), "windlass_log_tail": dg.MetadataValue.text("\n".join(tail))}
    return dg.Failure(text, metadata=facts)


def _outputs(client: WindlassClient, run: Run) -> tuple[str, ...]:
    artifacts = client.store.artifacts
    edges = artifacts.edges(run_id=run.id, kind=EdgeKind.OUTPUT)
    return tuple(artifacts.get_by_id(edge.version).path for edge in edges)


class WorkingAgent(threading.Thread):
    """An agent in a thread of this process; a context manager that ends it in good order.

    Args:
        client: The store.
        config_file: ``launch-config.yaml``; by default the user's, if there is one.
        flags: Values of `windlass_agent.config.AgentConfig`.

    Raises:
        WindlassLaunchError: windlass-agent is not installed.
    """

    def __init__(self, client: WindlassClient, *, config_file: str | None = None, **flags: Any) -> None:
        super().__init__(name="windlass-agent", daemon=True)
        self.error: Exception | None = None
        self.agent = _agent(client, config_file, flags)

    def run(self) -> None:
        """The thread's work."""
        try:
            self.agent.run()
        except Exception as error:
            self.error = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.agent.stop()
        self.join(_STOP_PATIENCE)


def _agent(client: WindlassClient, config_file: str | None, flags: dict[str, Any]) -> Agent:
    try:
        from windlass_agent.agent import Agent
        from windlass_agent.config import load
    except ImportError as error:
        raise WindlassLaunchError(
            "an agent is not installed here",
            code="agent-not-installed",
            hint="pip install 'dagster-windlass[agent]', or launch on a queue that an agent elsewhere serves.",
        ) from error
    return Agent(load(config_file, flags), client.app, client.store)
