"""Runs in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from windlass.errors import ConflictError, UsageError
from windlass.metastore import RunStore
from windlass.models.reason import Reason
from windlass.models.run import (
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
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.world import World

__all__ = ["LOG_CAP", "MemoryRuns", "changed", "dependency_failed", "needs"]

LOG_CAP = 64 * 1024 * 1024

_MERGED = ("config", "summary", "timings")
_PLAIN = ("name", "state", "phase", "reason", "host", "handle", "image", "exit_code", "job", "tags", "notes", "usage")


def changed(world: World, run: Run, changes: RunUpdate, now: float) -> Run:
    """Apply changes and store the run; the end of a run also takes it off its queue, and ends what waits for it."""
    over = [_changed(world, run, changes, now)]
    ended = over[0]
    if run.state.is_terminal:
        return ended
    while over:  # a chain may be longer than Python's stack
        failed = over.pop()
        if failed.state.is_terminal and failed.state is not RunState.FINISHED:
            waits = [r for r in map(world.runs.__getitem__, world.items) if r.state is RunState.QUEUED]
            waits = [other for other in waits if failed.id in needs(other)]
            over += [_changed(world, other, dependency_failed(failed), now) for other in waits]
    return ended


def _heard(world: World, run: Run, now: float) -> Run:
    """The run; it is ended when it fell silent."""
    return _ended(world, run) if fell_silent(run, now) else run


def _ended(world: World, run: Run) -> Run:
    return changed(world, run, RunUpdate(state=RunState.CRASHED, reason=Reason.unheard()), last_heard(run))


def _changed(world: World, run: Run, changes: RunUpdate, now: float) -> Run:
    again = changes.reopen or (changes.heartbeat and was_unheard(run))
    if run.state.is_terminal and again and not run.queue:
        run = evolve(run, state=RunState.RUNNING, reason=None, exit_code=None, finished_at=0.0)
    if run.state.is_terminal and changes.state not in (None, run.state):
        raise ConflictError(
            f"run '{run.id}' is over ({run.state}) and cannot become {changes.state}", context={"run": run.id}
        )
    values: dict[str, Any] = {name: getattr(changes, name) for name in _PLAIN if getattr(changes, name) is not None}
    for name in _MERGED:
        if getattr(changes, name) is not None:
            values[name] = {**getattr(run, name), **getattr(changes, name)}
    if changes.heartbeat:
        values["heartbeat_at"] = now
    if changes.state is not None and changes.state != run.state:
        if changes.state is RunState.RUNNING and changes.reason is None and run.reason is not None:
            values["reason"] = run.reason.kept()
        if changes.state is RunState.RUNNING and not run.started_at:
            values["started_at"] = now
        if changes.state is RunState.RUNNING and run.id in world.items:
            world.items[run.id].began_at = now
        if changes.state is not RunState.PENDING and changes.phase is None:
            values["phase"] = RunPhase.NONE
        if changes.state.is_terminal:
            values["finished_at"] = now
            values["cost"] = run.cost + world.bill(run, now)
            world.items.pop(run.id, None)
    ended = evolve(run, **values)
    world.runs[run.id] = ended
    return ended


def needs(run: Run) -> tuple[str, ...]:
    """Ids of the runs that must finish before this one."""
    return run.spec.depends_on if run.spec is not None else ()


def dependency_failed(run: Run) -> RunUpdate:
    """The end of a run whose dependency did not finish."""
    reason = Reason(code="dependency-failed", message=f"run '{run.id}', which it waits for, is {run.state}")
    return RunUpdate(state=RunState.KILLED, reason=reason)


@faulty
class MemoryRuns(RunStore):
    """See `RunStore`."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults

    def create(self, run: Run) -> Run:
        with self._world.changing() as now:
            if run.id in self._world.runs:
                raise ConflictError(f"the run id '{run.id}' is taken", hint="Choose another id, or resume that run.")
            started = run.started_at or (now if run.state is RunState.RUNNING else 0.0)
            stored = evolve(run, created_at=run.created_at or now, started_at=started)
            self._world.runs[run.id] = stored
            return stored

    def get(self, run_id: str) -> Run:
        with self._world.changing() as now:
            return _heard(self._world, self._world.run(run_id), now)

    def list(self, where: RunFilter) -> tuple[Run, ...]:
        with self._world.changing() as now:
            newest = [_heard(self._world, run, now) for run in reversed(self._world.runs.values())]
            if where.before:
                self._world.run(where.before)
                newest = newest[next(i for i, run in enumerate(newest) if run.id == where.before) + 1 :]
            wanted = {name: getattr(where, name) for name in ("entity", "project", "queue", "agent", "group", "job")}
            found = (
                run
                for run in newest
                if all(not value or getattr(run, name) == value for name, value in wanted.items())
                and (not where.states or run.state in where.states)
            )
            return tuple(run for run, _ in zip(found, range(where.limit), strict=False))

    def update(
        self,
        run_id: str,
        changes: RunUpdate,
        fence: int | None = None,
        attempt: int | None = None,
        agent: str | None = None,
    ) -> Run:
        ends = changes.state is not None and changes.state.is_terminal
        with self._world.changing(ring=ends) as now:
            run = self._world.guarded(run_id, fence=fence, attempt=attempt, agent=agent)
            return changed(self._world, run, changes, now)

    def request_stop(self, run_id: str) -> Run:
        with self._world.changing(ring=True) as now:
            run = self._world.run(run_id)
            if run.state.is_terminal:
                return run
            run = evolve(run, stop_requested=True)
            self._world.runs[run_id] = run
            if is_unheard(run, now):
                return _ended(self._world, run)
            if run.state is not RunState.QUEUED:
                return run
            reason = Reason(code="stopped-by-user", message="stopped before it was started")
            return changed(self._world, run, RunUpdate(state=RunState.KILLED, reason=reason), now)

    def delete(self, run_id: str) -> None:
        with self._world.changing():
            if not self._world.run(run_id).state.is_terminal:
                raise ConflictError(f"run '{run_id}' is not over", hint=f"Stop it first: windlass run stop {run_id}")
            del self._world.runs[run_id]
            for table in (self._world.metrics, self._world.logs, self._world.log_next):
                table.pop(run_id, None)
            for key in [key for key in self._world.cursors if key[0] == run_id]:
                del self._world.cursors[key]

    def log_metrics(self, run_id: str, rows: Sequence[MetricRow], attempt: int | None = None) -> None:
        with self._world.changing():
            self._world.guarded(run_id, attempt=attempt)
            if any(row.step < 0 for row in rows):
                raise UsageError("a step must not be negative", hint="Count steps from 0.")
            history = self._world.metrics.setdefault(run_id, {})
            for row in rows:
                known = history.get(row.step)
                history[row.step] = evolve(row, values={**known.values, **row.values}) if known else row

    def metrics(self, run_id: str, after_step: int = -1, limit: int = 1000) -> tuple[MetricRow, ...]:
        with self._world.changing():
            self._world.run(run_id)
            history = self._world.metrics.get(run_id, {})
            return tuple(history[step] for step in sorted(history) if step > after_step)[:limit]

    def append_log(
        self, run_id: str, lines: Sequence[LogLine], source: str, before: str, after: str, fence: int | None = None
    ) -> bool:
        with self._world.changing():
            self._world.guarded(run_id, fence=fence)
            if self._world.cursors.get((run_id, source), "") != before:
                return False
            self._world.cursors[(run_id, source)] = after
            log = self._world.logs.setdefault(run_id, [])
            for line in lines:
                place = self._world.log_next.get(run_id, 0)
                log.append((place, line))
                self._world.log_next[run_id] = place + 1
            _cut(log)
            return True

    def log_cursor(self, run_id: str, source: str) -> str:
        with self._world.changing():
            self._world.run(run_id)
            return self._world.cursors.get((run_id, source), "")

    def read_log(self, run_id: str, start: int = 0, limit: int = 1000) -> LogPage:
        with self._world.changing():
            run = self._world.run(run_id)
            rest = [(place, line) for place, line in self._world.logs.get(run_id, []) if place >= start]
            page = rest[:limit]
            following = page[-1][0] + 1 if page else max(start, 0)
            ended = run.state.is_terminal and len(page) == len(rest)
            return LogPage(lines=tuple(line for _, line in page), next=following, ended=ended)


def _cut(log: list[tuple[int, LogLine]]) -> None:
    """Above the cap, keep the head and the newest part, with a mark where something is missing."""
    if sum(len(line.data) for _, line in log) <= LOG_CAP:
        return
    head, size = 0, 0
    while head < len(log) and size + len(log[head][1].data) <= LOG_CAP // 4:
        size += len(log[head][1].data)
        head += 1
    tail, size = len(log), 0
    while tail > head + 1 and size + len(log[tail - 1][1].data) <= LOG_CAP // 2:
        tail -= 1
        size += len(log[tail][1].data)
    mark = LogLine(stream="agent", data=b"[output above the size limit was left out here]\n")
    log[head:tail] = [(log[head][0], mark)]
