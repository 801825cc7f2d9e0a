"""Runs and their history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import evolve

from windlass import wire
from windlass.errors import ConflictError, FencedError, UsageError
from windlass.metastore import RunStore
from windlass.models.reason import Reason
from windlass.models.run import (
    LOST_AFTER,
    LogLine,
    LogPage,
    MetricRow,
    Run,
    RunFilter,
    RunPhase,
    RunState,
    RunUpdate,
    fell_silent,
    is_unheard,
    last_heard,
    was_unheard,
)
from windlass_metastore_sql import logs, spending
from windlass_metastore_sql.bells import topic
from windlass_metastore_sql.database import Database, Row, Tx, marks
from windlass_metastore_sql.items import BLOCKED, CLAIMED, DELAYED, WAITING, queue_ref
from windlass_metastore_sql.rows import assignments
from windlass_metastore_sql.run_table import RUNS, get_run

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SET = ("name", "phase", "reason", "host", "handle", "image", "exit_code", "job", "tags", "notes", "usage")
_MERGED = ("config", "summary", "timings")
_AFTER_THE_END = ("tags", "notes", "summary")


_TRACK = "INSERT INTO tracked (run_id) VALUES (?)"
_AT_WORK = f"SELECT run_id FROM items WHERE status = {CLAIMED} UNION ALL SELECT run_id FROM tracked"
_SILENT = (
    "SELECT id FROM runs WHERE id IN (SELECT run_id FROM tracked) AND state = 'running' "
    "AND heartbeat_at BETWEEN 1 AND ? AND started_at < ? AND created_at < ? ORDER BY id LIMIT 100"
)
_LIVE = "SELECT run_id FROM items UNION ALL SELECT run_id FROM tracked"
"""The runs that are not over: no index of `runs` tells. The first leaves out those that wait on a queue."""


class SqlRuns(RunStore):
    """Runs in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._turn = spending.Turn()

    def create(self, run: Run) -> Run:
        """See `RunStore.create`."""
        check_id(run.id)
        if run.state is RunState.QUEUED:
            raise UsageError("a queued run is made by putting it on a queue", hint="Use queues.enqueue.")
        now = self._db.now()
        started = run.started_at or (now if run.state is RunState.RUNNING else 0.0)
        run = evolve(run, created_at=run.created_at or now, started_at=started)
        with self._db.write() as tx:
            if insert_run(tx, run) is None:
                raise ConflictError(f"there is a run '{run.id}' already", hint="Choose another id, or give none.")
            if not run.state.is_terminal:
                tx.run(_TRACK, run.id)
        return run

    def get(self, run_id: str) -> Run:
        """See `RunStore.get`."""
        with self._db.read() as tx:
            run = get_run(tx, run_id)
        if self._db.read_only or not fell_silent(run, self._db.now()):
            return run
        return self._end_silent([run_id])[0]

    def list(self, where: RunFilter) -> tuple[Run, ...]:
        """See `RunStore.list`."""
        tests, values, order = [], [], "seq"
        for name in ("entity", "project", "queue", "agent", "group", "job"):
            if wanted := getattr(where, name):
                tests.append(f'"{name}" = ?')
                values.append(wanted)
        if where.states:
            tests.append(f"state IN ({marks(len(where.states))})")
            values.extend(state.value for state in where.states)
            if not any(state.is_terminal for state in where.states):
                tests.append(f"id IN ({_LIVE if RunState.QUEUED in where.states else _AT_WORK})")
                order = "+seq"  # sort those few, do not look for them among all
        if where.before:
            tests.append("seq < (SELECT seq FROM runs WHERE id = ?)")
            values.append(where.before)
        condition = f"WHERE {' AND '.join(tests)} " if tests else ""
        sql = f"SELECT {RUNS.columns} FROM runs {condition}ORDER BY {order} DESC LIMIT ?"
        since = self._db.now() - LOST_AFTER
        with self._db.read() as tx:
            silent = [row[0] for row in tx.rows(_SILENT, since, since, since)]
            if self._db.read_only or not silent:
                return tuple(RUNS.load(row) for row in tx.rows(sql, *values, where.limit))
        self._end_silent(silent)
        with self._db.read() as tx:
            return tuple(RUNS.load(row) for row in tx.rows(sql, *values, where.limit))

    def _end_silent(self, run_ids: Sequence[str]) -> Sequence[Run]:
        with self._db.write() as tx:
            found = [get_run(tx, run_id, lock=True) for run_id in run_ids]
            return [_ended(tx, run) if fell_silent(run, self._db.now()) else run for run in found]

    def update(
        self,
        run_id: str,
        changes: RunUpdate,
        fence: int | None = None,
        attempt: int | None = None,
        agent: str | None = None,
    ) -> Run:
        """See `RunStore.update`."""
        ends = changes.state is not None and changes.state.is_terminal
        if not self._db.one_writer and ends and fence is not None and attempt is None:
            from windlass_metastore_sql import endings  # only agents with PostgreSQL come here

            now = self._db.now()
            if endings.is_simple(changes) and not self._turn.spanned(self._db, run_id, now):
                with self._db.single() as tx:
                    if run := endings.end(tx, run_id, changes, fence, agent, now):
                        return run
        with self._db.write(durable=ends or changes.phase is RunPhase.STARTING) as tx:
            run = get_run(tx, run_id, lock=True)
            check_holder(run, fence, attempt, agent)
            return change_run(tx, run, changes, self._db.now())

    def request_stop(self, run_id: str) -> Run:
        """See `RunStore.request_stop`."""
        with self._db.write() as tx:
            run = get_run(tx, run_id, lock=True)
            if run.state.is_terminal:
                return run
            stopped = evolve(run, stop_requested=True)
            save_run(tx, run, stopped)
            if run.state is RunState.QUEUED:
                reason = Reason(code="stopped-by-user", message="stopped while it was waiting in its queue")
                return change_run(tx, stopped, RunUpdate(state=RunState.KILLED, reason=reason), self._db.now())
            if is_unheard(run, self._db.now()):
                return _ended(tx, stopped)
            item = tx.row("SELECT queue_id FROM items WHERE run_id = ?", run_id)
            if item and (ref := queue_ref(tx, item[0])):
                tx.topics.add(topic(ref))
            return stopped

    def delete(self, run_id: str) -> None:
        """See `RunStore.delete`."""
        with self._db.write() as tx:
            run = get_run(tx, run_id, lock=True)
            if not run.state.is_terminal:
                raise ConflictError(f"run '{run_id}' is {run.state}", hint="Stop it first.")
            for table in ("metrics", "logs", "log_chunks", "log_cursors"):
                tx.run(f"DELETE FROM {table} WHERE run_id = ?", run_id)
            tx.run("DELETE FROM runs WHERE id = ?", run_id)

    def log_metrics(self, run_id: str, rows: Sequence[MetricRow], attempt: int | None = None) -> None:
        """See `RunStore.log_metrics`."""
        if any(row.step < 0 for row in rows):
            raise UsageError("a step cannot be negative", where="rows")
        merged: dict[int, MetricRow] = {}
        for row in rows:
            old = merged.get(row.step)
            merged[row.step] = evolve(row, values={**old.values, **row.values}) if old else row
        with self._db.write(durable=False) as tx:
            check_holder(get_run(tx, run_id, lock=True), None, attempt)
            if not merged:
                return
            known = tx.rows(
                'SELECT step, "values" FROM metrics WHERE run_id = ? AND step BETWEEN ? AND ?',
                run_id,
                min(merged),
                max(merged),
            )
            for step, text in known:
                if step in merged:
                    values = {**wire.decode(text, dict), **merged[step].values}
                    merged[step] = evolve(merged[step], values=values)
            tx.many(
                'INSERT INTO metrics (run_id, step, time, "values") VALUES (?, ?, ?, ?) '
                'ON CONFLICT (run_id, step) DO UPDATE SET time = excluded.time, "values" = excluded."values"',
                [(run_id, row.step, row.time, wire.encode_stored(row.values, "values")) for row in merged.values()],
            )

    def metrics(self, run_id: str, after_step: int = -1, limit: int = 1000) -> tuple[MetricRow, ...]:
        """See `RunStore.metrics`."""
        with self._db.read() as tx:
            get_run(tx, run_id)
            rows = tx.rows(
                'SELECT step, time, "values" FROM metrics WHERE run_id = ? AND step > ? ORDER BY step LIMIT ?',
                run_id,
                after_step,
                limit,
            )
        return tuple(MetricRow(step=s, time=t, values=wire.decode(text, dict)) for s, t, text in rows)

    def append_log(
        self, run_id: str, lines: Sequence[LogLine], source: str, before: str, after: str, fence: int | None = None
    ) -> bool:
        """See `RunStore.append_log`."""
        with self._db.write(durable=not lines) as tx:
            check_holder(get_run(tx, run_id, lock=True), fence, None)
            return logs.append(tx, run_id, lines, source, before, after)

    def log_cursor(self, run_id: str, source: str) -> str:
        """See `RunStore.log_cursor`."""
        with self._db.read() as tx:
            get_run(tx, run_id)
            return logs.cursor(tx, run_id, source)

    def read_log(self, run_id: str, start: int = 0, limit: int = 1000) -> LogPage:
        """See `RunStore.read_log`."""
        with self._db.read() as tx:
            over = get_run(tx, run_id).state.is_terminal
            return logs.read(tx, run_id, start, limit, over=over)


def check_id(run_id: str) -> None:
    """Raise `UsageError` unless the text can be a run id."""
    if not _ID.fullmatch(run_id):
        raise UsageError(
            f"{run_id!r} cannot be a run id", hint="1 to 128 letters, digits, '_', '.', '-'; a letter or digit first."
        )


_INSERT = (
    f"INSERT INTO runs ({RUNS.columns}) VALUES ({marks(len(RUNS.names))}) ON CONFLICT (id) DO NOTHING RETURNING seq"
)


def insert_run(tx: Tx, run: Run) -> int | None:
    """Store a new run and return its place in the order of creation; None when the id is taken."""
    return insert_runs(tx, [run])[0]


def insert_runs(tx: Tx, runs: Sequence[Run]) -> list[int | None]:
    """The same for several."""
    return [int(row[0]) if row else None for row in tx.each(_INSERT, [RUNS.dump(run) for run in runs])]


def save_run(tx: Tx, old: Run, new: Run) -> None:
    """Write the columns that differ."""
    if changed := RUNS.changed(old, new):
        tx.run(f"UPDATE runs SET {assignments(list(changed))} WHERE id = ?", *changed.values(), old.id)


def check_holder(run: Run, fence: int | None, attempt: int | None, agent: str | None = None) -> None:
    """Raise `FencedError` when a claim, an attempt or an agent is not the present one."""
    if (fence is not None and fence != run.fence) or (agent is not None and agent != run.agent):
        raise FencedError(
            f"run '{run.id}' was taken over: claim {fence} does not hold any more",
            hint="Stop working on it; another agent does.",
            context={"fence": fence, "present": run.fence, "agent": run.agent},
        )
    if attempt is not None and attempt != run.attempt:
        raise FencedError(
            f"attempt {attempt} of run '{run.id}' is superseded by attempt {run.attempt}",
            hint="Stop; a newer attempt of this run is at work.",
            context={"attempt": attempt, "present": run.attempt},
        )


def _ended(tx: Tx, run: Run) -> Run:
    """End a run that is unheard."""
    return change_run(tx, run, RunUpdate(state=RunState.CRASHED, reason=Reason.unheard()), last_heard(run))


def change_run(tx: Tx, run: Run, changes: RunUpdate, now: float) -> Run:
    """Apply changes, with all that follows from a new state."""
    changed, ended = _change(tx, run, changes, now)
    over = [changed] if ended else []
    while over:  # what waits for each other may be a chain that is longer than Python's stack
        over += _settle(tx, over.pop(), now)
    return changed


def _change(tx: Tx, run: Run, changes: RunUpdate, now: float) -> tuple[Run, bool]:
    """The run with the changes, and whether they have ended it."""
    values: dict[str, Any] = {}
    before = run
    again = changes.reopen or (changes.heartbeat and was_unheard(run))
    if run.state.is_terminal and again and not run.queue:
        run = evolve(run, state=RunState.RUNNING, reason=None, exit_code=None, finished_at=0.0)
        tx.run(_TRACK, run.id)
    over = run.state.is_terminal
    if over and changes.state not in (None, run.state):
        raise ConflictError(
            f"run '{run.id}' is over ({run.state}); it cannot become {changes.state}",
            context={"state": run.state.value},
        )
    for name in _AFTER_THE_END if over else (*_SET, *_MERGED):
        if (value := getattr(changes, name)) is not None:
            values[name] = {**getattr(run, name), **value} if name in _MERGED else value
    if changes.heartbeat:
        values["heartbeat_at"] = now
    if changes.state is not None and not over:
        values.update(_state_values(run, changes, now))
    if not over and changes.state is not None:
        if changes.state.is_terminal:
            closed = _leave(tx, run)
            values["cost"] = run.cost + spending.charge(tx, closed, now)
        elif changes.state is RunState.RUNNING:
            tx.run("UPDATE items SET began_at = ? WHERE run_id = ? AND began_at = 0", now, run.id)
    new = evolve(run, **values)
    save_run(tx, before, new)
    if "host" in values:
        tx.run("UPDATE items SET host = ? WHERE run_id = ?", new.host, run.id)
    return new, new.state.is_terminal and not over


def _state_values(run: Run, changes: RunUpdate, now: float) -> dict[str, Any]:
    state = changes.state
    assert state is not None
    if state is RunState.QUEUED and run.state is not RunState.QUEUED:
        raise UsageError("a run returns to its queue by releasing it", hint="Use queues.release.")
    if run.state is RunState.QUEUED and not state.is_terminal and state is not RunState.QUEUED:
        raise ConflictError(f"run '{run.id}' waits in its queue; it must be claimed before it can be {state}")
    values: dict[str, Any] = {"state": state, "reason": changes.reason}
    if state is not RunState.PENDING and changes.phase is None:
        values["phase"] = RunPhase.NONE
    if state is RunState.RUNNING and changes.reason is None and run.reason is not None:
        values["reason"] = run.reason.kept()
    if state is RunState.RUNNING and not run.started_at:
        values["started_at"] = now
    if state.is_terminal:
        values.update(finished_at=now, phase=RunPhase.NONE)
    if state is run.state and changes.reason is None:
        del values["reason"]
    return values


_LEAVE = f"DELETE FROM items WHERE run_id = ? RETURNING {spending.ACCOUNT}, queue_id, status, limited"


def _leave(tx: Tx, run: Run) -> Row | None:
    """Take a run that is over off its queue; gives its account."""
    item = tx.row(_LEAVE, run.id)
    if item is None:
        tx.run("DELETE FROM tracked WHERE run_id = ?", run.id)
        return None
    *account, queue_id, status, limited = item
    if status == CLAIMED and limited and (ref := queue_ref(tx, queue_id)):
        tx.topics.add(topic(ref))  # a place under the queue's limits may have become free
    return tuple(account)


def _settle(tx: Tx, run: Run, now: float) -> list[Run]:
    """A run is over: end its tokens, and let the runs go on that wait for it, or end them; gives those."""
    over = []
    tokens, own = "DELETE FROM run_tokens WHERE run_id = ?", "DELETE FROM item_needs WHERE run_id = ?"
    others = "DELETE FROM item_needs WHERE needs = ? RETURNING run_id"
    if tx.locks:
        waiting = tx.rows(f"WITH tokens AS ({tokens}), own AS ({own}) {others}", run.id, run.id, run.id)
    else:
        tx.run(tokens, run.id)
        tx.run(own, run.id)
        waiting = tx.rows(others, run.id)
    for (waiter,) in waiting:
        if run.state is RunState.FINISHED:
            _unblock(tx, waiter, now)
        else:
            dependent = get_run(tx, waiter, lock=True)
            end = RunUpdate(state=RunState.KILLED, reason=dependency_reason(run))
            dependent, ended = _change(tx, dependent, end, now)
            over += [dependent] if ended else []
    return over


def dependency_reason(run: Run) -> Reason:
    """Why a run that depends on `run` is not started."""
    return Reason(
        code="dependency-failed",
        message=f"run '{run.id}', which must finish first, is {run.state}",
        hint=f"See `windlass run show {run.id}`, then launch both again.",
        context={"run": run.id, "state": run.state.value},
    )


def _unblock(tx: Tx, run_id: str, now: float) -> None:
    if tx.row("SELECT 1 FROM item_needs WHERE run_id = ?", run_id):
        return
    item = tx.row(
        f"UPDATE items SET status = CASE WHEN not_before > ? THEN {DELAYED} ELSE {WAITING} END "
        f"WHERE run_id = ? AND status = {BLOCKED} RETURNING queue_id",
        now,
        run_id,
    )
    if item and (ref := queue_ref(tx, item[0])):
        tx.topics.add(topic(ref))
