"""One thread that watches all runs of an agent: states in bulk, output in turn."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from windlass.errors import FencedError, StoreUnavailableError, WindlassError

if TYPE_CHECKING:
    from windlass.runners import RunHandle, Runner, RunStatus
    from windlass_agent.attempt import Attempt
    from windlass_agent.logs import Pump

__all__ = ["Watcher"]

_log = logging.getLogger(__name__)
_FASTEST = 0.02
_SLOWEST = 1.0
_PER_RUN = 0.0005


class Watcher:
    """Polls and pumps. It looks often at young runs and once a second at old ones, and sleeps when there is none."""

    def __init__(self) -> None:
        self._attempts: dict[str, Attempt] = {}
        self._carried: dict[str, Pump] = {}
        self._carrying = threading.Lock()
        self._changed = threading.Condition()
        self._closed = False
        self._look_now = False
        self._failing: dict[str, tuple[float, float]] = {}
        self._thread = threading.Thread(target=self._work, name="windlass-watcher", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; runs go on."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, attempt: Attempt) -> None:
        """Watch an attempt that was submitted."""
        with self._changed:
            self._attempts[attempt.run_id] = attempt
            self._look_now = True
            self._changed.notify()

    def remove(self, attempt: Attempt) -> None:
        """Watch it no longer."""
        with self._changed:
            if self._attempts.get(attempt.run_id) is attempt:
                del self._attempts[attempt.run_id]

    def look(self) -> None:
        """Look at all runs now (a stop was requested)."""
        with self._changed:
            self._look_now = True
            self._changed.notify()

    def carry(self, run_id: str, pump: Pump) -> None:
        """Carry a build's output until `release`."""
        with self._changed:
            self._carried[run_id] = pump
            self._changed.notify()

    def release(self, run_id: str) -> None:
        """Leave a build's output to the caller; no other thread works on it when this returns."""
        with self._changed:
            self._carried.pop(run_id, None)
        with self._carrying:
            pass

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._look_now and not self._closed:
                    self._changed.wait(self._interval())
                if self._closed:
                    return
                self._look_now = False
                attempts = list(self._attempts.values())
            try:
                self._watch(attempts)
                self._carry_all()
            except StoreUnavailableError as error:
                _log.warning("the store is out of reach, trying again: %s", error.message)
                time.sleep(_SLOWEST / 2)
            except Exception:
                _log.exception("the watcher failed, trying again")
                time.sleep(_SLOWEST)

    def _interval(self) -> float | None:
        if not self._attempts and not self._carried:
            return None
        youngest = min((attempt.age for attempt in self._attempts.values()), default=1.0)
        return min(max(youngest / 8, _FASTEST, len(self._attempts) * _PER_RUN), _SLOWEST)

    def _watch(self, attempts: list[Attempt]) -> None:
        by_runner: dict[str, list[Attempt]] = {}
        for attempt in attempts:
            by_runner.setdefault(attempt.resource, []).append(attempt)
        for name, group in by_runner.items():
            statuses = self._poll(name, group[0].runner, group)
            for attempt in group:
                self._observe(attempt, statuses.get(attempt.known_handle))

    def _poll(self, name: str, runner: Runner, group: list[Attempt]) -> Mapping[RunHandle, RunStatus]:
        until, wait = self._failing.get(name, (0.0, _FASTEST))
        if time.monotonic() < until:
            return {}
        try:
            answer = runner.poll([attempt.known_handle for attempt in group])
        except WindlassError as error:
            # Nothing is concluded from a backend that cannot be asked: its runs are as they were.
            wait = min(wait * 2, 10.0)
            self._failing[name] = (time.monotonic() + wait, wait)
            _log.warning("the runner '%s' cannot be asked, trying again in %.1f s: %s", name, wait, error)
            return {}
        self._failing.pop(name, None)
        return answer

    def _observe(self, attempt: Attempt, status: RunStatus | None) -> None:
        try:
            attempt.observe(status)
        except FencedError:
            attempt.give_up()
        except StoreUnavailableError:
            raise
        except WindlassError as error:
            _log.warning("%s: %s", attempt.run_id, error)

    def _carry_all(self) -> None:
        with self._changed:
            pumps = list(self._carried.items())
        for run_id, pump in pumps:
            with self._carrying:
                if run_id not in self._carried:
                    continue
                try:
                    pump.run()
                except (WindlassError, OSError) as error:
                    _log.warning("%s: build output is not stored yet: %s", run_id, error)
