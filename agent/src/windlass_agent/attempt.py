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

from windlass.errors import FencedError, StoreUnavailableError, WindlassError
from windlass.ids import attempt_id
from windlass.launch.policy import next_retry, retries_used, told_retries
from windlass.models.reason import Reason
from windlass.models.run import ResourceUsage, RunHandle, RunPhase, RunState, RunUpdate
from windlass.runners import Runner, RunnerState, RunStatus
from windlass_agent import checkpoints, limits, outcome
from windlass_agent.absent import Postponed
from windlass_agent.faults import Point
from windlass_agent.logs import Output, Pump
from windlass_agent.record import Record
from windlass_agent.submission import Submission

if TYPE_CHECKING:
    from windlass.models.launch import LaunchPolicy
    from windlass.models.queue import Claim
    from windlass_agent.claims import Held
    from windlass_agent.pools import Pools
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
        pools: Threads that may take their time.
        done: Called when the claim is held no longer.
    """

    def __init__(
        self,
        services: Services,
        claim: Claim,
        held: Held,
        watcher: Watcher,
        pools: Pools,
        done: Callable[[Attempt], None],
    ) -> None:
        self._services = services
        self._claim = claim
        self.record = Record(services, claim, held)
        self._watcher = watcher
        self._pools = pools
        self._done = done
        self._submission: Submission | None = None
        self._handle: RunHandle | None = None
        self._output: Output | None = None
        self._idle: limits.IdleWatch | None = None
        self._usage: ResourceUsage | None = None
        self._gpu_seconds: Callable[[], float | None] = lambda: None
        self._stop: Reason | None = None
        self._stopped_at = 0.0
        self._born = time.monotonic()
        self._over = False
        self._ending = False
        self._reporting = False
        self.unreported = False

    # -- what others ask --------------------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self.record.id

    @property
    def held(self) -> Held:
        """The claim's lease."""
        return self.record.held

    @property
    def age(self) -> float:
        """Seconds since it was submitted, or since the runner was last asked to stop it."""
        return time.monotonic() - max(self._born, self._stopped_at)

    @property
    def resource(self) -> str:
        """Runner plugin."""
        return self._planned.plan.resource

    @property
    def runner(self) -> Runner:
        """The runner."""
        return self._planned.runner

    @property
    def known_handle(self) -> RunHandle:
        """The handle of what was submitted."""
        assert self._handle is not None
        return self._handle

    def request_stop(self, reason: Reason) -> None:
        """Have it stopped as soon as that can be done. The first reason stays."""
        if self._stop is None:
            self._stop = reason
            self._interrupt()
            self._watcher.look()

    def give_up(self) -> None:
        """The claim is lost: touch nothing of the run any more."""
        if not self._over and not self._reporting:
            _log.warning("%s belongs to another agent now", self.run_id)
        self._leave()

    def lost(self) -> None:
        """A renewal said that the claim holds no longer. While the end is being reported that is to be expected."""
        if not self._reporting:
            self._interrupt()
            self.give_up()

    def hand_over(self) -> None:
        """Give the run back as it stands; who claims it next goes on with it."""
        self._reporting = True
        self._watcher.remove(self)
        self.held.lost.set()  # whatever is under way in other threads ends at its next step
        self._interrupt()
        try:
            told = RunUpdate(reason=self.record.run.reason)  # it knows the retries used
            self._services.store.queues.release(self.held.lease, 0.0, told, next_attempt=False)
        except WindlassError as error:
            _log.warning("%s could not be handed over, its lease will end: %s", self.run_id, error.message)
            self.unreported = True
        else:
            _log.info("%s was handed over", self.run_id)
        self._leave()

    # -- the start --------------------------------------------------------------------------------------------

    def start(self, *, builds: bool = False) -> None:
        """Bring the run to its runner, or find that it is there. Called once, by a start thread of the runner's.

        With `builds` it needs an image if it is not there; that is then for a thread that builds.
        """
        self._services.faults.hit(Point.CLAIMED, self.run_id)
        self._attempted(lambda: self._begin(builds))

    def _begin(self, builds: bool) -> None:
        run = self.record.run
        self._submission = Submission(self._services, self.record, self._claim.queue, self._watcher)
        if run.stop_requested:
            self.request_stop(outcome.STOPPED_BY_USER)
        # The first claim of a run finds nothing; every later one may find what a predecessor submitted.
        if run.fence > 1 and self._adopt(self._submission):
            return
        if builds:
            self._pools.build(lambda: self._attempted(lambda: self._bring(self._planned)))
        else:
            self._bring(self._submission)

    def _bring(self, submission: Submission) -> None:
        run = self.record.run
        self.held.check()  # it may have waited in line
        if self._end_early(limits.before_start(self._policy, run, self.record.now())):
            return
        try:
            spec = submission.prepare()
            if self._end_early(None):
                return
            handle = submission.submit(spec)
        except (FencedError, StoreUnavailableError):
            raise
        except WindlassError:
            if not self._end_early(None):  # a stop interrupts the build, and waiting for a backend
                raise
            return
        self._watch(handle, fresh=run.fence == 1)

    def _adopt(self, submission: Submission) -> bool:
        """Take up what a predecessor submitted. False when nothing was, and the attempt must be started."""
        found = submission.predecessor()
        if isinstance(found, Reason):
            self._conclude(RunStatus(state=RunnerState.LOST, reason=found))
        elif found is not None:
            _log.info("%s was started before and is adopted", self.run_id)
            if self.record.run.handle is None:
                self.record.update(RunUpdate(handle=found))
            self._watch(found, fresh=False)
        return found is not None

    def _watch(self, handle: RunHandle, *, fresh: bool) -> None:
        runner = self.runner
        pump = Pump(
            self._services.store.runs,
            self.run_id,
            handle.id,
            lambda since: runner.logs(handle, since),
            self.held.lease.fence,
            self._services.faults,
        )
        if fresh:
            pump.start_fresh()
        self._output = Output(pump, self.held)
        self._handle = handle
        self._idle = limits.IdleWatch(self._policy)
        self._gpu_seconds = self._services.gpus.follow(self._services.slots.gpus(self.run_id))
        self._born = time.monotonic()
        self._watcher.add(self)

    # -- the run ----------------------------------------------------------------------------------------------

    def observe(self, status: RunStatus | None) -> None:
        """Take what the runner says (None: it could not be asked). Called by the watcher, waits for nothing."""
        if self._over or self._ending:
            return
        self.held.check()
        self._services.faults.hit(Point.WATCHING, self.run_id)
        if status is None:
            return
        self._usage = self._measured(status)
        if status.state.is_terminal:
            self._ending = True
            self._watcher.remove(self)
            self._pools.end(lambda: self._attempted(lambda: self._end(status)))
            return
        if self._output is not None:
            self._output.carry()
        self._note_progress(status)
        self._enforce(status)

    def _measured(self, status: RunStatus) -> ResourceUsage | None:
        usage, gpu_seconds = status.usage or self._usage, self._gpu_seconds()
        return usage if gpu_seconds is None else evolve(usage or ResourceUsage(), gpu_seconds=gpu_seconds)

    def _note_progress(self, status: RunStatus) -> None:
        run = self.record.run
        if status.state is RunnerState.RUNNING and run.state is not RunState.RUNNING:
            took = max(0.0, self.record.now() - self._planned.submitted_at)
            self.record.update(RunUpdate(state=RunState.RUNNING, phase=RunPhase.NONE, timings={"start": took}))
        elif status.state is RunnerState.STARTING and status.reason is not None:
            used = retries_used(run)
            context = {**status.reason.context, **({"retries": used} if used else {})}
            reason = evolve(status.reason, context=context)
            if reason != run.reason:
                self.record.update(RunUpdate(reason=reason))

    def _enforce(self, status: RunStatus) -> None:
        assert self._idle is not None
        now = self.record.now()
        passed = limits.while_running(self._policy, self.record.run, status, self._planned.submitted_at, now)
        passed = passed or self._idle.look(self._usage, now)
        if passed is not None:
            self.request_stop(passed)
        asked = bool(self._stopped_at) and time.monotonic() - self._stopped_at < self._grace + _STOP_AGAIN
        if self._stop is None or asked:
            return
        _log.info("%s is asked to stop: %s", self.run_id, self._stop.message)
        self._services.claims.ensure(self.held, 0.0)
        self.runner.stop(self.known_handle, self._grace)
        self._stopped_at = time.monotonic()

    # -- the end ----------------------------------------------------------------------------------------------

    def _end(self, status: RunStatus) -> None:
        self._services.faults.hit(Point.ENDED, self.run_id)
        if self._output is not None:
            self._output.finish(self.record.insist, self._services.aborted)
        self._conclude(status)

    def _conclude(self, status: RunStatus) -> None:
        """Store how the attempt ended, then remove what it left."""
        state, reason = outcome.of(status, self._stop, self._planned.folder)
        known = status.started_at and status.finished_at
        changes = RunUpdate(
            exit_code=status.exit_code,
            reason=reason,
            usage=self._measured(status),
            timings={"run": status.finished_at - status.started_at} if known else {},
        )
        self._report(state, changes)
        self._clean()

    def _end_early(self, passed: Reason | None) -> bool:
        """End a run that was not submitted, because it was stopped or passed a limit."""
        if passed is None and self._stop is None:
            return False
        self._report(RunState.KILLED, RunUpdate(reason=passed or self._stop, timings=self._planned.queued()))
        self._clean()
        return True

    def _fail(self, error: Exception) -> None:
        """End the attempt because this agent could not do its part."""
        if isinstance(error, WindlassError):
            state, retryable = RunState.FAILED, error.retryable
        else:
            _log.error("%s: an error inside the agent", self.run_id, exc_info=error)
            state, retryable = RunState.CRASHED, False
        self._report(state, RunUpdate(reason=Reason.from_error(error)), retryable=retryable)
        self._clean()

    def _report(self, state: RunState, changes: RunUpdate, *, retryable: bool = False) -> None:
        self._services.faults.hit(Point.REPORTING, self.run_id)
        retry = None
        if state in (RunState.FAILED, RunState.CRASHED) and self._stop is None and self._submission and changes.reason:
            retry = next_retry(self._policy, self.record.claimed, changes.reason, retryable=retryable)
            changes = evolve(changes, reason=told_retries(self._policy, self.record.claimed, changes.reason))
        self._reporting = True
        if retry is not None:
            announce = self.record.retry(retry.delay, evolve(changes, reason=retry.reason))
        else:
            announce = self.record.finish(state, changes)
        self._services.faults.hit(Point.REPORTED, self.run_id)
        self._leave()
        announce()

    def _clean(self) -> None:
        """Remove resource and directory. What fails here is done by the sweep."""
        name = attempt_id(self.record.claimed.id, self.record.claimed.attempt)
        try:
            if self._handle is not None:
                self.runner.cleanup(self._handle)
        except WindlassError as error:
            _log.warning("%s: something is left behind for now: %s", name, error)
            return
        shutil.rmtree(self._services.work / name, ignore_errors=True)
        checkpoints.tidy(self._services, self.record.run)
        self._services.faults.hit(Point.CLEANED, self.run_id)

    def _attempted(self, step: Callable[[], None]) -> None:
        """Do a step; whatever goes wrong becomes the run's reason, or is left to a successor."""
        try:
            try:
                step()
            except (FencedError, StoreUnavailableError, Postponed):
                raise
            except Exception as error:
                self._fail(error)
        except Postponed:
            self.hand_over()
        except FencedError:
            self.give_up()
        except StoreUnavailableError as error:
            _log.warning("%s is left as it is: %s", self.run_id, error)
            self._abandon()
        except WindlassError as error:
            _log.error("%s could not be reported, its lease will end: %s", self.run_id, error.message)
            self._abandon()
        except Exception:
            _log.exception("%s could not be reported as failed; its lease will end", self.run_id)
            self._abandon()

    def _abandon(self) -> None:
        self.unreported = not self._over
        self._leave()

    def _interrupt(self) -> None:
        if self._submission is not None and self._handle is None:
            self._pools.end(self._submission.interrupt)  # ending a build may take seconds

    def _leave(self) -> None:
        if not self._over:
            self._over = True
            self._watcher.remove(self)
            self._services.claims.drop(self.held)
            self._done(self)

    @property
    def _planned(self) -> Submission:
        assert self._submission is not None
        return self._submission

    @property
    def _policy(self) -> LaunchPolicy:
        return self._planned.plan.policy

    @property
    def _grace(self) -> float:
        asked = self._services.config.stopped_run_timeout
        if self._stop == outcome.STOPPED_BY_USER and asked is not None:
            return asked
        return self._policy.stop_grace or 0.0
