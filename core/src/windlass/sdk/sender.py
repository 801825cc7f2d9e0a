"""Sends what a run records, in the background, in batches, again and again while the store is out of reach."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import evolve

from windlass import wire
from windlass.errors import ConfigError, ConflictError, FencedError, NoSpaceError, StoreError, UsageError, WindlassError
from windlass.metastore import MetadataStore
from windlass.models.run import MetricRow, RunUpdate
from windlass.sdk.spool import Spool

__all__ = ["Sender"]

_log = logging.getLogger("windlass")

_BATCH = 500
_BATCH_BYTES = 4 << 20
_MAX_DELAY = 10.0
_OF_CONTENT = (UsageError, ConfigError)
"""The store refuses what was sent, not the run: something else is taken."""
_MAY_PASS = (StoreError, NoSpaceError)


class Sender:
    """One thread between the training loop and the store.

    Args:
        store: Where to.
        run_id: Which run.
        attempt: Guard: a superseded attempt is refused.
        spool: Rows wait here.
        flush_seconds: Rows are held back at most so long.
        heartbeat_seconds: The run says that it lives this often.
        first: Called once in the thread before anything is sent.
        update: Changes to begin with.

    Attributes:
        fenced: Set when a newer attempt has taken over; nothing is sent any more.
        failed: Set when the store refuses this run for good. What it refuses alone is left out, and said.
        stop_requested: Somebody asked for the end of the run.
    """

    def __init__(
        self,
        store: MetadataStore,
        run_id: str,
        attempt: int | None,
        spool: Spool,
        *,
        flush_seconds: float = 0.5,
        heartbeat_seconds: float = 15.0,
        first: Callable[[], None] | None = None,
        update: RunUpdate | None = None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._attempt = attempt
        self.spool = spool
        self._flush_seconds = flush_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._first = first
        self._wake = threading.Condition()
        self._update = update
        self._sending: RunUpdate | None = None  # on its way: not stored before the store has answered
        self._batch = _BATCH
        self._oldest = 0.0
        self._closing = False
        self._give_up = float("inf")
        self.fenced: FencedError | None = None
        self.failed: WindlassError | None = None
        self.stop_requested = False
        self._thread = threading.Thread(target=self._work, name=f"windlass-{run_id}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def row(self, row: MetricRow) -> None:
        """Add a history row. It is encoded here, so later changes of its values do not matter."""
        record = wire.encode(row)
        with self._wake:
            self.spool.append(record)
            self._touch()

    def change(self, **changes: Any) -> None:
        """Add changes of config, summary or labels; see `RunUpdate`."""
        with self._wake:
            self._update = _merge(RunUpdate(**changes), self._update)
            self._touch()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is sent. False when time is up or sending was given up."""
        deadline = time.monotonic() + timeout
        with self._wake:
            self._oldest = -float("inf")
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._idle or not self._thread.is_alive(), deadline - time.monotonic())
            return self._idle and not self.failed and not self.fenced

    def close(self, timeout: float) -> bool:
        """Send what is left, as long as `timeout` seconds, and end the thread. False when something is left."""
        with self._wake:
            self._closing = True
            self._give_up = time.monotonic() + timeout
            self._wake.notify_all()
        self._thread.join(timeout + 5)
        return self._idle and not self.failed and not self.fenced

    def drain(self) -> None:
        """Send everything now and here, instead of `start`. Raises what the store says."""
        while not self._idle:
            self._send_some(heartbeat=False)

    def leftovers(self) -> RunUpdate | None:
        """Changes that could not be sent; rows are in the spool."""
        with self._wake:
            return self._unsent()

    @property
    def _idle(self) -> bool:
        return self._update is None and self._sending is None and not len(self.spool)

    def _unsent(self) -> RunUpdate | None:
        return self._update if self._sending is None else _merge(self._update or RunUpdate(), self._sending)

    def _touch(self) -> None:
        if not self._oldest:
            self._oldest = time.monotonic()
            self._wake.notify_all()
        elif len(self.spool) >= _BATCH:
            self._wake.notify_all()

    def _work(self) -> None:
        if self._first is not None:
            with contextlib.suppress(Exception):
                self._first()
        delay = 0.1
        next_beat = time.monotonic() + self._heartbeat_seconds
        while not (self.fenced or self.failed):
            with self._wake:
                while not self._closing:
                    due = self._oldest + self._flush_seconds if self._oldest else next_beat
                    left = min(due, next_beat) - time.monotonic()
                    if left <= 0 or len(self.spool) >= _BATCH:
                        break
                    self._wake.wait(left)
                if self._closing and (self._idle or time.monotonic() >= self._give_up):
                    break
            try:
                self._send_some(heartbeat=time.monotonic() >= next_beat)
                delay = 0.1
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + self._heartbeat_seconds
            except FencedError as error:
                self.fenced = error
                _log.error("a newer attempt has taken over run %s; nothing is recorded any more", self._run_id)
            except WindlassError as error:
                if not (error.retryable or isinstance(error, _MAY_PASS)):
                    self.failed = error
                    _log.error("run %s is no longer recorded: %s", self._run_id, error)
                    break
                delay = self._pause(delay, error)
            except Exception as error:  # a bug in a store must not end training
                delay = self._pause(delay, error)
        with self._wake:
            self._wake.notify_all()

    def _pause(self, delay: float, error: Exception) -> float:
        _log.debug("run %s: the store does not answer, trying again in %.1f s: %s", self._run_id, delay, error)
        with self._wake:
            limit = min(delay * random.uniform(0.7, 1.3), max(0.0, self._give_up - time.monotonic()))  # noqa: S311
            self._wake.wait_for(lambda: False, limit)
        return min(delay * 2, _MAX_DELAY)

    def _send_some(self, *, heartbeat: bool) -> None:
        with self._wake:
            records = self.spool.peek(self._batch, _BATCH_BYTES)
            self._sending, self._update = self._update, None
            self._oldest = 0.0
        try:
            if records:
                self._send_rows(records)
            if self._sending is not None or heartbeat:
                self._send_update(evolve(self._sending or RunUpdate(), heartbeat=True))
                self._sending = None
        finally:
            with self._wake:
                self._update, self._sending = self._unsent(), None
                if not self._idle:
                    self._oldest = self._oldest or time.monotonic() - self._flush_seconds
                self._wake.notify_all()

    def _send_rows(self, records: list[bytes]) -> None:
        rows = [wire.decode(record, MetricRow) for record in records]
        try:
            self._store.runs.log_metrics(self._run_id, rows, attempt=self._attempt)
            self._batch = _BATCH
        except _OF_CONTENT as error:
            if len(records) > 1:  # one of them is to blame: find out which
                self._batch = max(1, len(records) // 2)
                return
            _log.error("run %s: step %d is left out: %s", self._run_id, rows[0].step, error)
        with self._wake:
            self.spool.drop(len(records))

    def _send_update(self, update: RunUpdate) -> None:
        try:
            run = self._store.runs.update(self._run_id, update, attempt=self._attempt)
        except FencedError:
            raise
        except _OF_CONTENT as error:
            _log.error("run %s: config, summary and labels are left out: %s", self._run_id, error)
            bare = evolve(update, config=None, summary=None, name=None, notes=None, tags=None)
            self._store.runs.update(self._run_id, bare, attempt=self._attempt)
        except ConflictError as error:  # over already (stopped by a user): labels still count, the state does not
            _log.warning("run %s: %s", self._run_id, error.message)
            self._store.runs.update(
                self._run_id, RunUpdate(summary=update.summary, notes=update.notes, tags=update.tags)
            )
        else:
            self.stop_requested = self.stop_requested or run.stop_requested


def _merge(newer: RunUpdate, older: RunUpdate | None) -> RunUpdate:
    if older is None:
        return newer
    changes: dict[str, Any] = {}
    for name in ("name", "state", "reason", "exit_code", "job", "tags", "notes"):
        value = getattr(newer, name)
        changes[name] = getattr(older, name) if value is None else value
    for name in ("config", "summary"):
        old, new = getattr(older, name), getattr(newer, name)
        changes[name] = {**(old or {}), **(new or {})} if old or new else None
    return RunUpdate(**changes)
