"""One Windlass run for each Dagster run.

The record is written through the store, not through ``windlass.init``: a run that user code opens in the same process
stays the user's. User code joins the run of the integration with ``windlass.init(id=context.run_id, resume="allow")``.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

from dagster_windlass.client import WindlassClient
from windlass.errors import ConflictError, RunNotFoundError, WindlassError
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState, RunUpdate
from windlass.sdk.globals import current_run

__all__ = ["RunBook"]

_log = logging.getLogger(__name__)
_TAG = "dagster_windlass"
_MADE_BY = "dagster"
"""Job type of runs that the integration has made, and therefore also ends."""


class RunBook:
    """Finds or makes the Windlass run of a Dagster run, and ends it when it is over.

    Args:
        client: Where runs are kept.
        dagster_run: Id of the Dagster run.
        run_id: Chosen id; by default that of the Dagster run.
        name: Display name; by default ``dagster-run-<first 8 characters>``.
        tags: Labels beside ``dagster_windlass``.
    """

    def __init__(
        self, client: WindlassClient, dagster_run: str, *, run_id: str = "", name: str = "", tags: Sequence[str] = ()
    ) -> None:
        self._client = client
        self._dagster_run = dagster_run
        self.id = run_id or dagster_run
        self.name = name or f"dagster-run-{dagster_run[:8]}"
        self._tags = tuple(dict.fromkeys((*tags, _TAG)))
        self._record: Run | None = None

    @property
    def record(self) -> Run:
        """The run; made when it is first needed.

        Inside a launched job this is the run of the launch: code there may write to no other.
        """
        if self._record is None:
            self._record = self._join() or self._make()
        return self._record

    def _join(self) -> Run | None:
        launched = os.environ.get("WINDLASS_LAUNCH", "").lower() in ("true", "1")
        if not launched or not self._client.settings.run_id:
            return None
        record = self._client.store.runs.get(self._client.settings.run_id)
        self.id, self.name = record.id, record.name or record.id
        return record

    @property
    def attempt(self) -> int | None:
        """Attempt of a launched run; None for others."""
        return self._client.settings.attempt if self.record.queue else None

    def _make(self) -> Run:
        runs = self._client.store.runs
        fresh = Run(
            id=self.id,
            name=self.name,
            entity=self._client.entity,
            project=self._client.project,
            state=RunState.RUNNING,
            author=self._client.entity,
            host=socket.gethostname(),
            tags=self._tags,
            job_type=_MADE_BY,
            config={"dagster_run_id": self._dagster_run},
        )
        try:
            record = runs.get(self.id)
        except RunNotFoundError:
            try:
                return runs.create(fresh)
            except ConflictError:  # a step in another process was quicker
                record = runs.get(self.id)
        changes: dict[str, Any] = {}
        missing = [tag for tag in self._tags if tag not in record.tags]
        if missing:
            changes["tags"] = (*record.tags, *missing)
        if record.job_type == _MADE_BY and record.state.is_terminal and not record.queue:
            changes["reopen"] = True
        return runs.update(record.id, RunUpdate(**changes)) if changes else record

    def close(self, instance: Any) -> None:
        """End the run when no step of the Dagster run is at work any more.

        Runs that user code has opened are left alone.

        Args:
            instance: The Dagster instance, or None.
        """
        record, self._record = self._record, None
        if record is None or record.job_type != _MADE_BY or record.queue:
            return
        mine = current_run()
        if mine is not None and mine.id == record.id:
            return
        state = _dagster_state(instance, self._dagster_run)
        if state is None:
            return
        reason = None
        if state is RunState.FAILED:
            reason = Reason(code="dagster-step-failed", message="a step of the Dagster run failed")
        try:
            self._client.store.runs.update(record.id, RunUpdate(state=state, reason=reason))
        except ConflictError:
            pass  # another step, or the user, has ended it
        except WindlassError:
            _log.warning("the end of run %s could not be recorded", record.id, exc_info=True)


def _dagster_state(instance: Any, run_id: str) -> RunState | None:
    """How the Dagster run stands: None while steps are at work."""
    import dagster as dg

    if instance is None:
        return RunState.FINISHED
    kinds = {
        dg.DagsterEventType.STEP_START,
        dg.DagsterEventType.STEP_SUCCESS,
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.STEP_UP_FOR_RETRY,
    }
    try:
        entries = instance.all_logs(run_id, of_type=kinds)
    except Exception:  # whatever an instance's storage raises: the run's end is a nicety
        _log.debug("the steps of Dagster run %s cannot be read", run_id, exc_info=True)
        return RunState.FINISHED
    last: dict[str, dg.DagsterEventType] = {}
    for entry in entries:
        event = entry.dagster_event
        if event is not None and event.step_key:
            last[event.step_key] = event.event_type
    if dg.DagsterEventType.STEP_START in last.values():
        return None
    return RunState.FAILED if dg.DagsterEventType.STEP_FAILURE in last.values() else RunState.FINISHED
