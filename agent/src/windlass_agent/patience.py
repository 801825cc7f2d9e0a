"""Waiting for a backend that does not answer: that it is away says nothing about a run, so none fails by it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from windlass.errors import FencedError, StoreUnavailableError, WindlassError
from windlass.launch.policy import retries_used
from windlass.models.reason import Reason
from windlass.models.run import RunUpdate
from windlass_agent.absent import Postponed

if TYPE_CHECKING:
    from windlass.models.queue import QueueRef
    from windlass_agent.record import Record
    from windlass_agent.services import Services

__all__ = ["Patience"]

_log = logging.getLogger(__name__)
_LONGEST = 2.0
_LOOK_EVERY = 10.0
T = TypeVar("T")


class Patience:
    """Repeats a step of one attempt that failed while a backend was away, once it is back.

    Without it an engine that is restarted would fail all that stands in the queue within seconds.

    Args:
        services: The agent's.
        record: The run; it says meanwhile what is waited for.
        queue: Its queue.
        check: Asks the backends that the attempt needs whether they work.
        enough: Whether the run may wait no longer, given the seconds that it has waited.
    """

    def __init__(
        self,
        services: Services,
        record: Record,
        queue: QueueRef,
        check: Callable[[], None],
        enough: Callable[[float], bool],
    ) -> None:
        self._services = services
        self._record = record
        self._queue = queue
        self._check = check
        self._enough = enough
        self._waited = 0.0
        self._ended = False

    def end(self) -> None:
        """Wait no longer: the run is to stop."""
        self._ended = True

    def attempt(self, step: Callable[[], T], *, started: bool = False) -> T:
        """Do a step that may be repeated.

        Args:
            step: The step.
            started: The runner may have been asked to start the run: it waits here, whoever else could take it.

        Raises:
            WindlassError: It failed while all backends answered, or it was waited for long enough.
            Postponed: It is to wait in its queue.
        """
        while True:
            try:
                return step()
            except (FencedError, StoreUnavailableError):
                raise
            except WindlassError as error:
                away = self._away() if self._services.patient else None
                if away is None:
                    raise
                self._wait(error, away, started)

    def _away(self) -> WindlassError | None:
        """What a backend says that will pass; None when all answer, or fail for good."""
        try:
            self._check()
        except WindlassError as error:
            return error if error.retryable else None
        return None

    def _wait(self, failed: WindlassError, away: WindlassError, started: bool) -> None:
        self._services.absent.note(self._queue, away, self._check)
        used = retries_used(self._record.run)
        reason = Reason.from_error(away)
        context = {**reason.context, **({"retries": used} if used else {})}
        self._record.update(RunUpdate(reason=evolve(reason, context=context)))
        first = self._services.absent.enter(self._queue)
        try:
            if not first and not started:
                raise Postponed
            self._until_back(failed, started)
        finally:
            if first:
                self._services.absent.leave(self._queue)

    def _until_back(self, failed: WindlassError, started: bool) -> None:
        pause, looked_at = 0.1, -_LOOK_EVERY
        _log.info("%s waits for it", self._record.id)
        while self._away():
            if self._ended or self._enough(self._waited):
                raise failed
            if not started and self._waited - looked_at >= _LOOK_EVERY:
                looked_at = self._waited
                if self._services.crowded() or self._services.presence.others(self._queue):
                    raise Postponed
            began = time.monotonic()
            self._record.held.lost.wait(pause)
            self._record.held.check()
            if self._services.aborted.is_set():
                raise StoreUnavailableError("the agent ends")
            self._waited += time.monotonic() - began
            pause = min(pause * 2, _LONGEST)
        _log.info("%s goes on", self._record.id)
