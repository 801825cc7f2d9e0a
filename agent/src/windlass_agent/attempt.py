"""The life of one attempt: prepare → build → push → start → watch → report.

Every step can be the last one of this agent. What makes that harmless:

* each change of the run names the claim's fence, so an agent that was superseded changes nothing;
* ``starting`` and the host are stored before the runner is asked, so a successor knows where to look;
* the runner starts an attempt once however often it is asked, and finds it again by its name;
* output is stored with its cursor, state after the last output, and the resource is removed after the state.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from windlass.errors import FencedError, RunnerError, StoreUnavailableError, WindlassError
from windlass.ids import attempt_id
from windlass.launch.plan import RunPlan, plan_run
from windlass.launch.policy import next_retry, retries_used
from windlass.models.reason import Reason
from windlass.models.run import ResourceUsage, RunHandle, RunPhase, RunState, RunUpdate
from windlass.plugins.events import RunChanged, RunFinished
from windlass.runners import Runner, RunnerState, RunSpec, RunStatus
from windlass_agent import limits, outcome
from windlass_agent.faults import Point
from windlass_agent.logs import Pump
from windlass_agent.prepare import Preparation, Prepared, attempt_folder

if TYPE_CHECKING:
    from windlass.models.queue import Claim
    from windlass_agent.claims import Held
    from windlass_agent.services import Services
    from windlass_agent.watcher import Watcher

__all__ = ["Attempt"]

_log = logging.getLogger(__name__)
_STOP_AGAIN = 10.0


class Attempt:
    """One claimed run in this agent's hands.

    Args:
        services: The agent's.
        claim: What the store gave.
        held: The claim's lease.
        watcher: Where it goes once it is submitted.
        later: Has a function called by a thread that may take its time.
        done: Called when the claim is held no longer.
    """

    def __init__(
        self,
        services: Services,
        claim: Claim,
        held: Held,
        watcher: Watcher,
        later: Callable[[Callable[[], None]], None],
        done: Callable[[Attempt], None],
    ) -> None:
        self._services = services
        self._claim = claim
        self._held = held
        self._watcher = watcher
        self._later = later
        self._done = done
        self._run = claim.run
        self._plan: RunPlan | None = None
        self._handle: RunHandle | None = None
        self._pump: Pump | None = None
        self._idle: limits.IdleWatch | None = None
        self._usage: ResourceUsage | None = None
        self._stop: Reason | None = None
        self._stopped_at = 0.0
        self._submitted_at = 0.0
        self._pump_at = 0.0
        self._pump_every = 0.0
        self._born = time.monotonic()
        self._over = False
        self._ending = False

    # -- what others ask --------------------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self._run.id

    @property
    def age(self) -> float:
        """Seconds since it was submitted, or since the runner was last asked to stop it."""
        return time.monotonic() - max(self._born, self._stopped_at)

    @property
    def resource(self) -> str:
        """Runner plugin."""
        assert self._plan is not None
        return self._plan.resource

    @property
    def runner(self) -> Runner:
        """The runner."""
        return self._services.backends.runner(self.resource)

    @property
    def known_handle(self) -> RunHandle:
        """The handle of what was submitted."""
        assert self._handle is not None
        return self._handle

    def request_stop(self, reason: Reason) -> None:
        """Have it stopped as soon as that can be done. The first reason stays."""
        if self._stop is None:
            self._stop = reason
            self._watcher.look()

    def give_up(self) -> None:
        """The claim is lost: touch nothing of the run any more."""
        _log.warning("%s belongs to another agent now", self.run_id)
        self._leave()

    def hand_over(self) -> None:
        """Give the run back as it stands; who claims it next goes on with it."""
        self._watcher.remove(self)
        lease = self._held.lease
        self._held.lost.set()  # whatever is under way in other threads ends at its next step
        try:
            self._services.store.queues.release(lease, 0.0, RunUpdate(), next_attempt=False)
        except WindlassError as error:
            _log.warning("%s could not be handed over, its lease will end: %s", self.run_id, error.message)
        else:
            _log.info("%s was handed over", self.run_id)
        self._leave()

    # -- the start --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring the run to its runner, or find that it is there. Called once, by a pool thread."""
        try:
            self._services.faults.hit(Point.CLAIMED, self.run_id)
            self._begin()
        except FencedError:
            self.give_up()
        except StoreUnavailableError as error:
            _log.warning("%s is left as it is: %s", self.run_id, error)
            self._leave()
        except Exception as error:
            self._fail(error)

    def _begin(self) -> None:
        run, queue = self._run, self._claim.queue
        self._plan = plan_run(run, queue, image=run.image)
        if run.stop_requested:
            self.request_stop(outcome.STOPPED_BY_USER)
        # The first claim of a run finds nothing; every later one may find what a predecessor submitted.
        if run.fence > 1 and self._adopt():
            return
        if self._end_early(limits.before_start(self._plan.policy, run, self._services.now())):
            return
        ready = self._services.insist(self._held, self._prepare)
        self._plan = plan_run(run, queue, image=ready.image)
        capabilities = self._services.backends.capabilities(self.resource)
        spec = self._spec(ready)
        attempt_folder(self._services, run, self.resource)
        self._update(
            RunUpdate(
                phase=RunPhase.STARTING,
                host=self._services.host if capabilities.host_bound else None,
                image=ready.image or None,
                timings=self._queued() | ready.timings,
            )
        )
        self._services.faults.hit(Point.STARTING, self.run_id)
        if self._end_early(None):
            return
        self._services.insist(self._held, lambda: self._services.claims.ensure(self._held))
        self._services.faults.hit(Point.SUBMITTING, self.run_id)
        began = time.monotonic()
        self._submitted_at = self._services.now()
        handle = self.runner.submit(spec)
        self._services.faults.hit(Point.SUBMITTED, self.run_id)
        self._pump = self._new_pump(handle)
        if run.fence == 1:
            self._pump.start_fresh()
        self._update(self._submitted(handle, time.monotonic() - began))
        self._watch(handle)

    def _adopt(self) -> bool:
        """Take up what a predecessor submitted. False when nothing was, and the attempt must be started."""
        run = self._run
        capabilities = self._services.backends.capabilities(self.resource)
        if capabilities.host_bound and run.host and run.host != self._services.host:
            self._conclude(RunStatus(state=RunnerState.LOST, reason=outcome.host_lost(run.host)))
            return True
        handle = self._find()
        if handle is None and (run.handle is not None or run.state is RunState.RUNNING):
            self._handle = run.handle
            self._conclude(RunStatus(state=RunnerState.LOST, reason=outcome.GONE))
            return True
        if handle is None:
            return False
        _log.info("%s is running already and was adopted", self.run_id)
        self._submitted_at = run.started_at or run.claimed_at
        self._pump = self._new_pump(handle)
        if run.handle is None:
            self._update(RunUpdate(handle=handle))
        self._watch(handle)
        return True

    def _find(self) -> RunHandle | None:
        wait = 0.1
        while True:
            try:
                return self.runner.find(attempt_id(self._run.id, self._run.attempt))
            except RunnerError as error:
                # Not being able to ask is no answer: starting it again now might run it twice.
                _log.warning("%s: the runner cannot be asked, trying again: %s", self.run_id, error)
            self._held.lost.wait(wait)
            self._held.check()
            if self._services.aborted.is_set():
                raise StoreUnavailableError("the agent ends")
            wait = min(wait * 2, 10.0)

    def _prepare(self) -> Prepared:
        self._services.faults.hit(Point.BUILDING, self.run_id)
        return Preparation(
            self._services,
            self._run,
            self._claim.queue,
            self.resource,
            lambda phase: self._update(RunUpdate(phase=phase)),
            self._watcher,
        ).run()

    def _spec(self, ready: Prepared) -> RunSpec:
        assert self._plan is not None
        run, plan, services = self._run, self._plan, self._services
        token = services.insist(
            self._held, lambda: services.store.access.issue_run_token(run.id, run.attempt, run.fence)
        )
        api, mounts = services.access.for_job(services.backends.capabilities(plan.resource), token)
        return RunSpec(
            run_id=run.id,
            attempt_id=attempt_id(run.id, run.attempt),
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
            env={**plan.env, "WINDLASS_BASE_URL": api.url},
            secret_env={"WINDLASS_API_KEY": api.token},
            resource_args=plan.resource_args,
            mounts=mounts,
            stop_grace=plan.policy.stop_grace or 10.0,
        )

    def _submitted(self, handle: RunHandle, took: float) -> RunUpdate:
        """The change after submission: ``running`` at once when the runner says so, which saves a round."""
        try:
            starting = self.runner.poll([handle])[handle].state is RunnerState.STARTING
        except WindlassError:
            starting = True
        if starting:
            return RunUpdate(handle=handle)
        return RunUpdate(handle=handle, state=RunState.RUNNING, phase=RunPhase.NONE, timings={"start": took})

    def _new_pump(self, handle: RunHandle) -> Pump:
        runner = self.runner
        return Pump(
            self._services.store.runs, self.run_id, handle.id, lambda since: runner.logs(handle, since),
            self._held.lease.fence, self._services.faults,
        )  # fmt: skip

    def _watch(self, handle: RunHandle) -> None:
        assert self._plan is not None
        self._handle = handle
        self._idle = limits.IdleWatch(self._plan.policy)
        self._born = time.monotonic()
        self._watcher.add(self)

    # -- the run ----------------------------------------------------------------------------------------------

    def observe(self, status: RunStatus | None) -> None:
        """Take what the runner says (None: it could not be asked). Called by the watcher, waits for nothing."""
        if self._over or self._ending:
            return
        self._held.check()
        self._services.faults.hit(Point.WATCHING, self.run_id)
        if status is None:
            return
        self._usage = status.usage or self._usage
        if status.state.is_terminal:
            self._ending = True
            self._watcher.remove(self)
            self._later(lambda: self._end(status))
            return
        self._carry_output()
        self._note_progress(status)
        self._enforce(status)

    def _carry_output(self) -> None:
        now = time.monotonic()
        if now < self._pump_at or self._pump is None:
            return
        fresh = self._pump.run()
        slower = min(max(self._pump_every * 1.5, 0.05), 1.0)
        self._pump_every = 0.2 if fresh else slower
        self._pump_at = now + self._pump_every

    def _note_progress(self, status: RunStatus) -> None:
        if status.state is RunnerState.RUNNING and self._run.state is not RunState.RUNNING:
            took = max(0.0, self._services.now() - self._submitted_at)
            self._update(RunUpdate(state=RunState.RUNNING, phase=RunPhase.NONE, timings={"start": took}))
        elif status.state is RunnerState.STARTING and status.reason is not None:
            used = retries_used(self._run)
            context = {**status.reason.context, **({"retries": used} if used else {})}
            reason = evolve(status.reason, context=context)
            if reason != self._run.reason:
                self._update(RunUpdate(reason=reason))

    def _enforce(self, status: RunStatus) -> None:
        assert self._plan is not None
        assert self._idle is not None
        policy, now = self._plan.policy, self._services.now()
        passed = limits.while_running(policy, self._claim.run, status, self._submitted_at, now)
        if passed := passed or self._idle.look(status.usage, now):
            self.request_stop(passed)
        if self._stop is None or (self._stopped_at and time.monotonic() - self._stopped_at < self._grace + _STOP_AGAIN):
            return
        _log.info("%s is asked to stop: %s", self.run_id, self._stop.message)
        self._services.claims.ensure(self._held, 0.0)
        self.runner.stop(self.known_handle, self._grace)
        self._stopped_at = time.monotonic()

    @property
    def _grace(self) -> float:
        assert self._plan is not None
        asked = self._services.config.stopped_run_timeout
        by_user = self._stop is outcome.STOPPED_BY_USER and asked is not None
        return asked if by_user and asked is not None else self._plan.policy.stop_grace or 0.0

    # -- the end ----------------------------------------------------------------------------------------------

    def _end(self, status: RunStatus) -> None:
        try:
            self._services.faults.hit(Point.ENDED, self.run_id)
            self._carry_rest()
            self._conclude(status)
        except FencedError:
            self.give_up()
        except StoreUnavailableError as error:
            _log.warning("%s is left as it is: %s", self.run_id, error)
            self._leave()
        except Exception as error:
            self._fail(error)

    def _carry_rest(self) -> None:
        """Store all output that is left. A backend that cannot be asked gets a minute to come back."""
        limit = time.monotonic() + 60.0
        while self._pump is not None:
            try:
                if not self._services.insist(self._held, self._pump.run):
                    return
            except RunnerError as error:
                if time.monotonic() > limit or self._services.aborted.is_set():
                    _log.warning("%s: the end of its output is lost: %s", self.run_id, error)
                    return
                self._held.lost.wait(1.0)

    def _conclude(self, status: RunStatus) -> None:
        """Store how the attempt ended, then remove what it left."""
        state, reason = outcome.of(status, self._stop)
        timings = {"run": status.finished_at - status.started_at} if status.started_at and status.finished_at else {}
        changes = RunUpdate(
            exit_code=status.exit_code, reason=reason, usage=status.usage or self._usage, timings=timings
        )
        self._report(state, changes, retryable=False)
        self._clean()

    def _end_early(self, passed: Reason | None) -> bool:
        """End a run that was not submitted, because it was stopped or passed a limit."""
        if passed is None and self._stop is None:
            return False
        state = RunState.FAILED if passed is not None else RunState.KILLED
        self._report(state, RunUpdate(reason=passed or self._stop, timings=self._queued()), retryable=False)
        self._clean()
        return True

    def _fail(self, error: BaseException) -> None:
        """End the attempt because this agent could not do its part."""
        known = isinstance(error, WindlassError)
        if not known:
            _log.error("%s: an error inside the agent", self.run_id, exc_info=error)
        reason = Reason.from_error(error)
        state = RunState.FAILED if known else RunState.CRASHED
        try:
            self._report(
                state, RunUpdate(reason=reason), retryable=isinstance(error, WindlassError) and error.retryable
            )
            self._clean()
        except FencedError:
            self.give_up()
        except Exception:
            _log.exception("%s could not be reported as failed; its lease will end", self.run_id)
            self._leave()

    def _report(self, state: RunState, changes: RunUpdate, *, retryable: bool) -> None:
        services, before = self._services, self._run
        services.faults.hit(Point.REPORTING, self.run_id)
        retry = None
        if state in (RunState.FAILED, RunState.CRASHED) and self._stop is None and self._plan and changes.reason:
            retry = next_retry(self._plan.policy, self._claim.run, changes.reason, retryable=retryable)
        if retry is not None:
            again = evolve(changes, reason=retry.reason)
            self._run = services.insist(
                self._held,
                lambda: services.store.queues.release(self._held.lease, retry.delay, again, next_attempt=True),
            )
            _log.info("%s goes back to its queue for %.1f s: %s", self.run_id, retry.delay, retry.reason.message)
        else:
            final = evolve(changes, state=state, phase=RunPhase.NONE)
            self._run = services.insist(
                self._held, lambda: services.store.runs.update(self.run_id, final, fence=self._held.lease.fence)
            )
            _log.info("%s %s: %s", self.run_id, state, changes.reason.message if changes.reason else "")
        services.faults.hit(Point.REPORTED, self.run_id)
        self._leave()
        services.app.fire(RunChanged(run=self._run, before=before))
        if retry is None:
            services.app.fire(RunFinished(run=self._run))

    def _clean(self) -> None:
        """Remove resource and directory. What fails here is done by the sweep."""
        name = attempt_id(self._claim.run.id, self._claim.run.attempt)
        try:
            if self._handle is not None:
                self.runner.cleanup(self._handle)
        except WindlassError as error:
            _log.warning("%s: something is left behind for now: %s", name, error)
            return
        shutil.rmtree(self._services.work / name, ignore_errors=True)
        self._services.faults.hit(Point.CLEANED, self.run_id)

    def _leave(self) -> None:
        if not self._over:
            self._over = True
            self._watcher.remove(self)
            self._services.claims.drop(self._held)
            self._done(self)

    def _update(self, changes: RunUpdate) -> None:
        before = self._run
        run_id, fence = self.run_id, self._held.lease.fence
        self._run = self._services.insist(
            self._held, lambda: self._services.store.runs.update(run_id, changes, fence=fence)
        )
        if (self._run.state, self._run.phase) != (before.state, before.phase):
            _log.info("%s is %s", run_id, self._run.phase or self._run.state)
            self._services.app.fire(RunChanged(run=self._run, before=before))

    def _queued(self) -> dict[str, float]:
        run = self._claim.run
        return {"queue": max(0.0, run.claimed_at - run.queued_at)} if run.queued_at and run.claimed_at else {}
