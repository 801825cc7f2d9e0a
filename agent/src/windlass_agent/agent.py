"""The agent: claims items, hands them to threads, keeps the claims, ends in good order."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import windlass
from windlass.clock import lease_clock
from windlass.errors import PluginError, UsageError, WindlassError
from windlass.ids import attempt_id, new_id
from windlass.launch.plan import resource_of
from windlass.models.job import SourceKind
from windlass.models.queue import Agent as AgentRow
from windlass.models.queue import Claim, ClaimRequest, QueueRef, Renewal, queue_name_in, queue_named
from windlass_agent import outcome
from windlass_agent.absent import Absent
from windlass_agent.attempt import Attempt
from windlass_agent.backends import Backends
from windlass_agent.claims import Claims, Held
from windlass_agent.config import AgentConfig
from windlass_agent.faults import Faults
from windlass_agent.jobapi import JobAccess
from windlass_agent.left import Left
from windlass_agent.pools import Pools
from windlass_agent.presence import Presence
from windlass_agent.services import Services
from windlass_agent.signals import AtOnce, signals
from windlass_agent.slots import Slots
from windlass_agent.sweep import sweep
from windlass_agent.turns import Turns
from windlass_agent.watcher import Watcher

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App

__all__ = ["Agent"]

_log = logging.getLogger(__name__)
_BATCH = 16
_SWEEP_EVERY = 600.0
_LAST_WORDS = 2.0


class Agent:
    """Takes items off queues and sees them through.

    Threads: the caller's claims; one waits for the store's bell; one renews claims; one watches runs; small pools
    bring runs to their runners, build images and conclude runs, see `Pools`.

    Args:
        config: What to take and how.
        app: Plugins and settings.
        store: The metadata store; stays the caller's, who closes it after `run`.
        run: Only this run, which somebody else has claimed: take it up when that claim ends, see it to its end.
        patient: Runs wait for a backend that is away, see `Services.patient`.
        faults: For tests only.
    """

    def __init__(
        self,
        config: AgentConfig,
        app: App,
        store: MetadataStore,
        *,
        run: str = "",
        patient: bool = True,
        faults: Faults | None = None,
    ) -> None:
        if not config.queues:
            raise UsageError("no queue is named", hint="Use -q NAME, or queues in launch-config.yaml.")
        self.id = new_id()
        self._config = config
        self._app = app
        self._store = store
        self._run = run
        self._patient = patient
        self._faults = faults or Faults()
        self._entity = config.entity or app.settings.entity
        weights = {queue_named(name, self._entity): weight for name, weight in config.weights.items()}
        self._turns = Turns([queue_named(name, self._entity) for name in config.queues], weights)
        self._left = Left(store, self._turns.queues)
        self._slots = Slots(config.slots)
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._attempts: dict[str, Attempt] = {}
        self._unreported: set[str] = set()
        self._lock = threading.Lock()
        self._stops = 0
        self._draining = False
        self._ended = threading.Event()
        self._absent = Absent(lambda: self._wake.put(None), self._ended)

    # -- for callers ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until drained or stopped. In the main thread, SIGTERM and Ctrl-C call `stop`.

        Raises:
            ConfigError, PluginError: The configuration names something that does not exist or fit.
            NotFoundError: A queue does not exist; names those that do.
            StoreError: The store cannot be used.
        """
        from windlass.artifacts.engine import ArtifactEngine

        backends = Backends(self._config, self._app)
        lease = self._app.settings.lease_seconds
        host = self._config.host or socket.gethostname()
        try:
            backends.verify(patient=self._patient)
            backends.serve(self._store.queues, self._turns.queues)
            self._services = Services(
                config=self._config,
                app=self._app,
                store=self._store,
                engine=ArtifactEngine(self._app, self._store, self._app.settings),
                backends=backends,
                claims=Claims(self._store.queues, self.id, lease, self._renewed),
                access=JobAccess(self._app, self._store),
                slots=self._slots,
                host=host,
                faults=self._faults,
                patient=self._patient,
                absent=self._absent,
                presence=Presence(self._store.agents, self._row(host)),
                crowded=lambda: self._draining or self._free() <= 0 < len(self._absent.present(self._turns.queues)),
            )
            self._services.presence.register()
            with suppress(AtOnce), signals(self.stop, lambda: self._stops == 2):
                self._work()
        finally:
            self._ended.set()
            backends.close()

    @property
    def unreported(self) -> frozenset[str]:
        """Ids of the runs that it gave up without a word in the store, and did not take up again."""
        return frozenset(self._unreported)

    @property
    def is_hurried(self) -> bool:
        """True when it was told to end at once: threads of it may still be at work, and nobody shall wait for them."""
        return self._stops > 1

    def stop(self) -> None:
        """End in good order: take nothing more, then finish or hand over the runs. The second call ends at once.

        May be called from any thread and from signal handlers.
        """
        self._stops += 1
        self._draining = True
        self._wake.put(None)

    # -- the loop ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        services = self._services
        self._watcher = Watcher()
        self._pools = Pools(self._config.builds)
        services.access.start()
        services.claims.start()
        self._watcher.start()
        for target, name in ((self._listen, "bell"), (self._sweep, "sweep")):
            threading.Thread(target=target, name=f"windlass-{name}", daemon=True).start()
        names = ", ".join(queue_name_in(ref, self._entity) for ref in self._turns.queues)
        _log.info("agent %s takes items of %s from %s", self.id, self._entity, names)
        try:
            try:
                self._loop()
            finally:
                services.aborted.set()
                self._ended.set()
                if not self.is_hurried:
                    self._end(wait=True)
        except AtOnce:
            pass
        if self.is_hurried:
            self._let_go()

    def _end(self, *, wait: bool) -> None:
        self._pools.close(wait=wait)
        if not wait:
            self._hand_over()
        self._watcher.close()
        self._services.claims.close()
        self._services.access.close()
        self._services.gpus.close()
        self._say("stopped")

    def _loop(self) -> None:
        failing = 0.05
        handed_over = False
        while self._stops < 2:
            if self._draining and self._stops and self._config.on_stop == "hand-over" and not handed_over:
                handed_over = True
                self._hand_over()
            try:
                took = self._claim()
                over = not took and self._is_over()
                failing = 0.05
            except WindlassError as error:
                # Whatever the store says, the runs this agent holds go on; it asks again.
                _log.warning("no items can be claimed, trying again in %.1f s: %s", failing, error)
                self._back_off(failing)
                failing = min(failing * 2, 5.0)
                continue
            if over:
                return
            if not took:
                self._pause(self._interval())

    def _claim(self) -> bool:
        if self._draining:
            return False
        queues = self._turns.order()
        present = self._absent.present(queues)
        # With none it looks after what time brings: schedules, items that waited too long.
        free = max(self._free(), 0) if present else 0
        request = ClaimRequest(
            agent=self.id,
            host=self._services.host,
            queues=present or queues,
            # One by one where each item changes whose turn it is, or what is left for the next.
            limit=min(free, 1 if self._slots or len(self._turns.queues) > 1 else _BATCH),
            lease_seconds=self._services.claims.lease_seconds,
            capacity=self._slots.free(),
            run=self._run,
        )
        asked_at = lease_clock()
        claims = self._store.queues.claim(request)
        for claim, held in zip(claims, self._services.claims.take(claims, asked_at), strict=True):
            attempt = Attempt(self._services, claim, held, self._watcher, self._pools, self._done)
            with self._lock:
                before, self._attempts[claim.run.id] = self._attempts.get(claim.run.id), attempt
            if before is not None:  # by the store's clock its lease was over, so that may have been set
                attempt.record.now = before.record.now
            name = attempt_id(claim.run.id, claim.run.attempt)
            self._slots.take(claim.run, claim.queue, self._services.work / name)
            self._turns.served(QueueRef(entity=claim.queue.entity, name=claim.queue.name))
            self._pools.start(
                resource_of(claim.queue, claim.run.spec), partial(attempt.start, builds=self._must_build(claim))
            )
        if claims:
            self._say("running")
        return bool(claims)

    def _free(self) -> int:
        return 2**31 if self._config.max_jobs < 0 else self._config.max_jobs - len(self._attempts)

    def _must_build(self, claim: Claim) -> bool:
        spec = claim.run.spec
        if spec is None or spec.source.kind is SourceKind.IMAGE:
            return False
        try:
            return self._services.backends.capabilities(resource_of(claim.queue, spec)).needs_image
        except PluginError:
            return False  # it will fail in a moment, where that is reported

    def _is_over(self) -> bool:
        if self._attempts:
            self._left.nothing()
            self._say("running")
            return False
        if self._draining:
            return True
        self._say("polling")
        if self._run:
            return self._store.runs.get(self._run).state.is_terminal
        # With runs of others: what an agent that died has left behind comes free only when its lease ends.
        if not self._config.drain or (left := self._left.count()) <= len(self._unreported):
            return self._config.drain
        self._left.say(left)
        return False

    def _interval(self) -> float:
        # The bell does not ring when another agent's lease ends or a delay is over, so look now and then.
        lease = self._services.claims.lease_seconds
        return min(0.5 if self._config.drain else 5.0, lease / 4)

    def _pause(self, seconds: float) -> None:
        """Sleep until something happens, at most so long."""
        try:
            self._wake.get(timeout=seconds)
            while True:
                self._wake.get_nowait()
        except queue.Empty:
            pass

    def _back_off(self, seconds: float) -> None:
        """Sleep so long, whatever the store's bell says; only a call to stop ends it."""
        until, stops = time.monotonic() + seconds, self._stops
        while self._stops == stops and (left := until - time.monotonic()) > 0:
            self._pause(left)

    # -- what other threads bring -----------------------------------------------------------------------------

    def _done(self, attempt: Attempt) -> None:
        with self._lock:
            if self._attempts.get(attempt.run_id) is attempt:
                del self._attempts[attempt.run_id]
                (self._unreported.add if attempt.unreported else self._unreported.discard)(attempt.run_id)
                self._slots.give_back(attempt.run_id)
        self._wake.put(None)

    def _renewed(self, answer: Renewal, lost: Sequence[Held]) -> None:
        for held in lost:
            attempt = self._attempts.get(held.run_id)
            if attempt is not None and attempt.held is held:
                attempt.lost()
        for run_id in answer.stop:
            if (attempt := self._attempts.get(run_id)) is not None:
                attempt.request_stop(outcome.STOPPED_BY_USER)
        if answer.drain and not self._draining:
            _log.info("the agent was asked to end when its runs are over")
            self._draining = True
            self._wake.put(None)

    def _listen(self) -> None:
        """Sleep on the store's bell; each ring means a look at queue and stops."""
        refs = self._turns.queues
        while not self._ended.is_set():
            try:
                rang = self._store.queues.wait(refs, 30.0)
            except Exception as error:
                if self._ended.is_set():
                    return
                _log.debug("the store's bell is out of order: %s", error)
                self._ended.wait(1.0)
                continue
            if rang:
                if self._attempts:
                    self._services.claims.renew_soon()
                self._wake.put(None)

    def _sweep(self) -> None:
        while True:
            try:
                sweep(self._services)
            except Exception:
                if self._ended.is_set():
                    return
                _log.exception("clearing up failed, trying again later")
            if self._ended.wait(_SWEEP_EVERY):
                return

    # -- beginning and end ------------------------------------------------------------------------------------

    def _row(self, host: str) -> AgentRow:
        return AgentRow(
            id=self.id,
            name=self._config.name or host,
            entity=self._entity,
            host=host,
            pid=os.getpid(),
            version=windlass.__version__,
            queues=self._turns.queues,
            max_jobs=self._config.max_jobs,
            slots=self._slots.total(),
        )

    def _say(self, state: str) -> None:
        if state != "stopped":
            state = "draining" if self._draining else "waiting" if self._absent else state
        self._services.presence.say(state, tuple(self._attempts))

    def _hand_over(self) -> None:
        for attempt in list(self._attempts.values()):
            attempt.hand_over()

    def _let_go(self) -> None:
        """End at once: whoever comes next need not wait for the leases, if the store answers soon.

        No thread is waited for longer: any of them may be asking a store that is out of reach, or a builder.
        """
        thread = threading.Thread(target=self._end, kwargs={"wait": False}, name="windlass-last", daemon=True)
        thread.start()
        thread.join(_LAST_WORDS)
        self._unreported.update(list(self._attempts))
