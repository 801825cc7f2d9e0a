"""Bringing an attempt to its runner, or finding what a predecessor brought there."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

import windlass
from windlass.errors import FencedError, NoSpaceError, RunnerError, StoreUnavailableError, SubmitError, WindlassError
from windlass.ids import attempt_id
from windlass.launch.plan import RunPlan, plan_run
from windlass.launch.provenance import KEY, record
from windlass.launch.secret_env import resolve_secrets, secret_references
from windlass.models import INTERNAL
from windlass.models.job import SourceKind
from windlass.models.queue import QueueRef
from windlass.models.reason import Reason
from windlass.models.run import RunHandle, RunPhase, RunState, RunUpdate
from windlass.runners import RunnerCapabilities, RunnerState, RunSpec
from windlass_agent import checkpoints, limits, outcome
from windlass_agent.absent import Postponed
from windlass_agent.faults import Point
from windlass_agent.patience import Patience
from windlass_agent.prepare import Preparation, Prepared, attempt_folder

if TYPE_CHECKING:
    from windlass.models.queue import Queue
    from windlass.runners import Runner
    from windlass_agent.record import Record
    from windlass_agent.services import Services
    from windlass_agent.watcher import Watcher

__all__ = ["Submission"]

_log = logging.getLogger(__name__)


class _Late(SubmitError):
    code = "start-timeout"


class Submission:
    """The first half of an attempt.

    Args:
        services: The agent's.
        record: The run.
        queue: Its queue.
        watcher: Carries build output.

    Attributes:
        plan: What the runner is to be given, as far as it is known.
        submitted_at: When the runner was asked, by the store's clock.
    """

    def __init__(self, services: Services, record: Record, queue: Queue, watcher: Watcher) -> None:
        self._services = services
        self._record = record
        self._queue = queue
        self._watcher = watcher
        self.plan: RunPlan = plan_run(record.run, queue, image=record.run.image)
        self.submitted_at = record.run.started_at or record.run.claimed_at
        self._preparation: Preparation | None = None
        self._interrupted = False
        self._ref = QueueRef(entity=queue.entity, name=queue.name)
        self._patience = Patience(services, record, self._ref, self._check, self._waited_enough)

    @property
    def runner(self) -> Runner:
        """The runner."""
        return self._services.backends.runner(self.plan.resource)

    @property
    def capabilities(self) -> RunnerCapabilities:
        """What it can do."""
        return self._services.backends.capabilities(self.plan.resource)

    @property
    def name(self) -> str:
        """Name of the attempt."""
        return attempt_id(self._record.claimed.id, self._record.claimed.attempt)

    def predecessor(self) -> RunHandle | Reason | None:
        """What a predecessor submitted, or why it is lost; None if nothing was, so that it is to be started.

        Raises:
            FencedError: The claim was lost meanwhile.
            StoreUnavailableError: The agent ends.
        """
        run = self._record.run
        if self.capabilities.host_bound and run.host and run.host != self._services.host:
            return outcome.host_lost(run.host)
        handle = self._find()
        if handle is None and (run.handle is not None or run.state is RunState.RUNNING):
            return outcome.GONE
        return handle

    def _find(self) -> RunHandle | None:
        wait = 0.1
        while True:
            try:
                return self.runner.find(self.name)
            except RunnerError as error:
                # Not being able to ask is no answer: starting it again now might run it twice.
                _log.warning("%s: the runner cannot be asked, trying again: %s", self.name, error)
                if error.retryable:
                    self._services.absent.note(self._ref, error, self._ask)
            self._record.held.lost.wait(wait)
            self._record.held.check()
            if self._services.aborted.is_set():
                raise StoreUnavailableError("the agent ends")
            wait = min(wait * 2, 10.0)

    def prepare(self) -> RunSpec:
        """Fetch, build, and store that the attempt is about to start."""
        try:
            return self._prepare()
        except (FencedError, Postponed):
            self._discard()
            raise

    def _discard(self) -> None:
        if self._preparation is not None:
            self._preparation.discard()

    def _prepare(self) -> RunSpec:
        run, services = self._record.run, self._services
        ready = self._patience.attempt(lambda: self._record.insist(self._fetch_and_build))
        if services.patient:
            # Not later: once it may have been started here, nobody elsewhere may take it.
            self._patience.attempt(self._ask)
        self.plan = plan_run(run, self._queue, image=ready.image)
        spec = self._spec(ready)
        services.slots.note(run.id, attempt_folder(services, run, self.plan.resource))
        self._record.update(
            RunUpdate(
                phase=RunPhase.STARTING,
                host=services.host if self.capabilities.host_bound else None,
                image=ready.image or None,
                config=self._origin(ready),
                timings=self.queued() | ready.timings,
            )
        )
        services.faults.hit(Point.STARTING, run.id)
        return spec

    @property
    def folder(self) -> Path | None:
        """Where the attempt works, if that is on this machine."""
        return self._services.work / self.name if self.capabilities.host_bound else None

    def interrupt(self) -> None:
        """End what `prepare` does soon: it raises. Called by any thread."""
        self._interrupted = True
        self._patience.end()
        try:
            self.runner.cancel(self.name)
            if self._preparation is not None:
                self._preparation.interrupt()
        except WindlassError as error:
            _log.warning("%s: the build goes on for now: %s", self.name, error)

    def submit(self, spec: RunSpec) -> RunHandle:
        """Start it. The claim is made sure of right before, so that a stale agent starts nothing."""
        began = time.monotonic()
        handle = self._in_time(lambda: self._patience.attempt(lambda: self._start(spec), started=True))
        self._services.faults.hit(Point.SUBMITTED, self._record.id)
        self._record.update(self._submitted(handle, began))
        return handle

    def _in_time(self, step: Callable[[], RunHandle]) -> RunHandle:
        """Do a step that may not take longer than a run may take to start."""
        limit, passed = self.plan.policy.start_timeout, threading.Event()
        if limit is None:
            return step()

        def end() -> None:
            passed.set()
            self.runner.cancel(self.name)

        timer = threading.Timer(limit, end)
        timer.daemon = True
        timer.start()
        try:
            return step()
        except SubmitError as error:
            if passed.is_set():
                raise _Late(f"it did not start within {limit:g} s: {error.message}", hint=limits.RAISE) from None
            raise
        finally:
            timer.cancel()

    def _start(self, spec: RunSpec) -> RunHandle:
        services = self._services
        while True:
            not_after = self._record.insist(lambda: services.claims.ensure(self._record.held))
            services.faults.hit(Point.SUBMITTING, self._record.id)
            self.submitted_at = self._record.now()
            try:
                return self.runner.submit(evolve(spec, not_after=not_after))
            except FencedError as error:
                _log.warning("%s; asking whether it is still ours", error.message)
                self._record.held.lost.wait(0.05)

    def _ask(self) -> None:
        if outcome.is_full(self._services.app.settings.home):
            raise self._no_space()
        self.runner.check()

    def _check(self) -> None:
        """Ask runner, builder and registry whether they work, as far as this run needs them."""
        self._ask()
        spec, backends = self._record.run.spec, self._services.backends
        if self.capabilities.needs_image and spec is not None and spec.source.kind is not SourceKind.IMAGE:
            backends.builder().check()
            registry = backends.registry(backends.destination) if backends.destination else None
            if registry is not None:
                registry.check()

    def _waited_enough(self, waited: float) -> bool:
        policy = self.plan.policy
        late = limits.passed_deadline(policy, self._record.claimed, self._record.now())
        return late is not None or (policy.start_timeout is not None and waited > policy.start_timeout)

    def queued(self) -> dict[str, float]:
        """How long the run waited in its queue, as a timing."""
        run = self._record.claimed
        return {"queue": max(0.0, run.claimed_at - run.queued_at)} if run.queued_at and run.claimed_at else {}

    def _submitted(self, handle: RunHandle, began: float) -> RunUpdate:
        """The change after submission: ``running`` at once when the runner says so, which saves a round."""
        try:
            starting = self.runner.poll([handle])[handle].state is RunnerState.STARTING
        except WindlassError:
            starting = True
        if starting:
            return RunUpdate(handle=handle)
        took = time.monotonic() - began
        return RunUpdate(handle=handle, state=RunState.RUNNING, phase=RunPhase.NONE, timings={"start": took})

    def _fetch_and_build(self) -> Prepared:
        self._services.faults.hit(Point.BUILDING, self._record.id)
        self._preparation = Preparation(
            self._services,
            self._record.claimed,
            self._queue,
            self.plan.resource,
            lambda phase: self._record.update(RunUpdate(phase=phase)),
            self._watcher,
            self.plan.venv,
        )
        if self._interrupted:
            self._preparation.interrupt()
        try:
            return self._preparation.run()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise self._no_space(f"{error.filename}" if error.filename else "") from None

    def _no_space(self, place: str = "") -> NoSpaceError:
        return NoSpaceError(
            f"the disk of the agent on {self._services.host} is full", where=place or str(self._services.work),
            hint="Free some space there, or set WINDLASS_HOME to a place that has more.", retryable=True,
        )  # fmt: skip

    def _origin(self, ready: Prepared) -> dict[str, Any]:
        """Where the run comes from, beside what its own code records."""
        known = self._record.run.config.get(INTERNAL) or {}
        found = record(
            self.plan, digest=ready.digest, requirements=ready.requirements, asked=ready.asked,
            agent=windlass.__version__,
        )  # fmt: skip
        return {INTERNAL: {**known, KEY: found}}

    def _secrets(self) -> dict[str, str]:
        """Secret variables: those that this agent gives to all jobs, and those of the queue."""
        wanted = {**secret_references(self._services.config.secrets), **self.plan.secrets}
        return resolve_secrets(wanted) if wanted else {}

    def _spec(self, ready: Prepared) -> RunSpec:
        run, plan, services = self._record.run, self.plan, self._services
        token = self._record.insist(lambda: services.store.access.issue_run_token(run.id, run.attempt, run.fence))
        api, mounts = services.access.for_job(self.capabilities, token)
        kept, more = checkpoints.for_job(services, run, self.capabilities)
        return RunSpec(
            run_id=run.id,
            attempt_id=self.name,
            attempt=run.attempt,
            fence=run.fence,
            entity=run.entity,
            project=run.project,
            name=run.name,
            queue=run.queue,
            author=run.author,
            command=plan.command,
            args=plan.args,
            image=ready.image,
            work_dir=ready.work_dir,
            env={**plan.env, **ready.env, **kept, "WINDLASS_BASE_URL": api.url},
            secret_env={**self._secrets(), "WINDLASS_API_KEY": api.token},
            resource_args=plan.resource_args,
            mounts=(*mounts, *more),
            gpus=services.slots.gpus(run.id),
            stop_grace=plan.policy.stop_grace or 10.0,
        )
