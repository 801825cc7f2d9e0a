"""The run object that ``windlass.init`` gives."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from windlass.errors import FencedError, UsageError, WindlassError
from windlass.models import INTERNAL
from windlass.models.run import MetricRow
from windlass.models.run import Run as RunRecord
from windlass.sdk.artifacts import RunArtifacts
from windlass.sdk.config import Config
from windlass.sdk.ending import end_reason, end_state
from windlass.sdk.hooks import ExitWatch
from windlass.sdk.session import patiently
from windlass.sdk.summary import RULES, Summary, SummaryRule
from windlass.sdk.values import step_number, to_json

if TYPE_CHECKING:
    from windlass.sdk.sender import Sender
    from windlass.sdk.session import Session

__all__ = ["Run"]

_log = logging.getLogger("windlass")


class Run(RunArtifacts):
    """One tracked execution. Made by ``windlass.init``; a context manager that finishes the run at its end.

    Attributes:
        config: Inputs, with item and attribute access. Values set by the launch win.
        summary: Outcome; the last value of every metric, and what you put there.
    """

    def __init__(
        self,
        record: RunRecord,
        *,
        session: Session | None,
        sender: Sender | None,
        config: Mapping[str, Any],
        launch_config: Mapping[str, Any],
        launched: bool,
        attempt: int | None,
        finish_timeout: float,
        finished: Callable[[Run], None],
        ending: Callable[[Run, dict[str, Any]], None] | None = None,
    ) -> None:
        self._ending = ending
        self._record = record
        self._session = session
        self._sender = sender
        self._launched = launched
        self._attempt = attempt
        self._finish_timeout = finish_timeout
        self._finished = finished
        self._pid = os.getpid()
        self._warned = False
        self._lock = threading.RLock()
        self._row: dict[str, Any] = {}
        last = record.summary.get("_step") if record.attempt == (attempt or record.attempt) else None
        self._step = last + 1 if isinstance(last, int) else 0  # it can be written by anybody, as any other key
        self._rules: dict[str, SummaryRule] = {}
        self._notes_inside: dict[str, Any] = dict(record.config.get(INTERNAL) or {})
        self._over = False
        self._lent = False
        self._guests: list[bool] = []  # of each `with` block that is open: whether it was only lent
        self.config = Config(config, launch=launch_config, changed=lambda changes: self._change(config=changes))
        self.summary = Summary(record.summary, lambda changes: self._change(summary=changes))
        self._watch = ExitWatch(self._at_exit)

    @property
    def step(self) -> int:
        """Step that the next `log` writes to."""
        return self._step

    @property
    def disabled(self) -> bool:
        """Nothing is recorded."""
        return self._session is None

    @property
    def forked(self) -> bool:
        """It is another process's, which this one is a copy of."""
        return os.getpid() != self._pid

    @property
    def resumed(self) -> bool:
        """It was begun by an earlier process."""
        return bool(self._record.summary.get("_step") is not None)

    def should_stop(self) -> bool:
        """Whether the run is to end: somebody asked for it, or the machine is about to be taken away.

        Ask now and then in a long loop, save a checkpoint and leave. From the first question on SIGTERM no longer ends
        the program at once; it has the stop grace of the launch's policy (10 s by default) before it is killed.
        """
        self._watch.patient = True
        return bool(self._watch.signal) or (self._sender is not None and self._sender.stop_requested)

    # -- what it records -----------------------------------------------------------------------------------------

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Record metrics.

        Args:
            data: Values by name; nested mappings are fine.
            step: Steps never fall; values of one step are put together. Default: one further than the last.
            commit: False keeps the step open for more values. Default: True without `step`, else False.

        Raises:
            UsageError: `data` is no mapping of JSON values, or the run is over.
            FencedError: Another attempt of the run has taken over; stop.
        """
        if not isinstance(data, Mapping):
            raise UsageError(f"log takes a mapping, not {type(data).__name__}", hint='run.log({"loss": 0.1})')
        values = to_json(data, "log")
        step = None if step is None else step_number(step)
        if not self._usable("log"):
            return
        with self._lock:
            if step is not None:
                if step < self._step:
                    _log.warning("step %d is older than step %d; its values are dropped", step, self._step)
                    return
                if step > self._step:
                    self._commit()
                    self._step = step
            self._row.update(values)
            self.summary.update({k: self._summed(k, v) for k, v in values.items() if self._in_summary(k)})
            if commit if commit is not None else step is None:
                self._commit()
                self._step += 1

    def define_metric(self, name: str, step_metric: str = "", summary: str = "last", **_more: Any) -> None:
        """Say how a metric is summed up: ``last``, ``min``, ``max``, ``mean``, ``first`` or ``none``.

        With anything but ``last``, ``run.summary[name]`` is a mapping: ``{"min": 0.1}``. `step_metric` is recorded
        for charts.

        Raises:
            UsageError: There is no such rule.
        """
        kind = (summary or "last").split(",")[0]
        if kind not in RULES:
            raise UsageError(f"there is no summary rule {kind!r}", hint=f"Use one of: {', '.join(RULES)}.")
        rule = SummaryRule(kind)
        session = self._session
        if kind == "mean" and self.resumed and session is not None:
            try:
                patiently(lambda: rule.go_on(session.store.runs, self.id, name))
            except WindlassError as error:
                _log.warning("the mean of %r is that of this process only: %s", name, error)
        self._rules[name] = rule
        if step_metric:
            self.note({"step_metrics": {**self._notes_inside.get("step_metrics", {}), name: step_metric}})

    # -- its end ---------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 60.0) -> bool:
        """Wait until everything logged is stored. False when that did not work within `timeout` seconds."""
        return self._sender is None or self._sender.flush(timeout)

    def finish(self, exit_code: int | None = None) -> None:
        """Send what is left and mark the run as over. May be repeated.

        Args:
            exit_code: 0 is ``finished``, anything else ``failed``. The state of a launched run is not set here:
                its agent does that when the process has ended.
        """
        if exit_code is not None:
            self._watch.code = exit_code
        self._end(self._watch.error)

    def lend(self) -> Self:
        """Give the run to somebody else in this program: the block that he puts it in does not end it."""
        self._lent = True
        return self

    def __enter__(self) -> Self:
        self._guests.append(self._lent)
        self._lent = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guests and self._guests.pop():
            return
        if error is None:
            self._watch.forget_exit()
        else:
            self._watch.saw(error)
        self._end(error)

    def __repr__(self) -> str:
        return f"<Run {self.path}>"

    def _at_exit(self) -> None:
        self._end(self._watch.error)

    def _end(self, error: BaseException | None) -> None:
        if self._over or os.getpid() != self._pid:
            return
        self.about_to_end()
        if self._launched and error is None:
            from windlass.sdk.launch import warn_of_unused_files

            warn_of_unused_files()
        self._over = True
        self._watch.remove()
        try:
            with self._lock:
                self._commit()
            if self._sender is not None and self._session is not None:
                self.summary.republish()
                if not self._launched:
                    code = self._watch.code
                    self._sender.change(state=end_state(code), exit_code=code, reason=end_reason(code, error))
                self._send_last(self._sender, self._session)
        finally:  # one that was interrupted is not the active run any more either
            self._finished(self)

    def _send_last(self, sender: Sender, session: Session) -> None:
        sent = False
        try:
            sent = sender.close(self._finish_timeout)
        finally:  # also when somebody who does not want to wait presses Ctrl-C
            if not sent:
                from windlass.sdk.leftovers import keep

                keep(session.settings, self.id, self._attempt, sender)
            session.close()

    def about_to_end(self) -> None:
        """Make the job of this run, if there is one to be made. May be repeated."""
        usable = not self._over and os.getpid() == self._pid and self._sender is not None
        if usable and self._ending is not None and self._watch.code not in (130, 143):
            assert self._sender is not None
            if self._sender.fenced is None:
                self._ending(self, dict(self._notes_inside))

    def note(self, facts: Mapping[str, Any]) -> None:
        """Record facts about where the run comes from; kept beside the config under ``_windlass``."""
        with self._lock:
            self._notes_inside.update(to_json(facts, "facts"))
            self._change(config={INTERNAL: dict(self._notes_inside)})

    # -- inside ------------------------------------------------------------------------------------------------------

    def _usable(self, what: str) -> bool:
        if self.forked:
            self._ignored(f"{what}() in a forked process is ignored; record from the process that called init()")
            return False
        if self._over:
            raise UsageError(f"run {self.id} is over", where=f"{what}()", hint="Call windlass.init() for another run.")
        if self._sender is not None and self._sender.fenced is not None:
            raise FencedError(
                f"another attempt of run {self.id} has taken over", hint="Stop; nothing is recorded any more."
            )
        self._watch.forget_exit()
        return True

    def _commit(self) -> None:
        if not self._row:
            return
        row, self._row = self._row, {}
        if self._sender is not None:
            self._sender.row(MetricRow(step=self._step, time=time.time(), values=row))
        self.summary.update({"_step": self._step})

    def _summed(self, key: str, value: Any) -> Any:
        rule = self._rules.get(key)
        return rule.next(self.summary.get(key), value) if rule is not None else value

    def _in_summary(self, key: str) -> bool:
        rule = self._rules.get(key)
        return rule is None or rule.kind != "none"

    def _change(self, **changes: Any) -> None:
        if self._sender is None:
            return
        what = ", ".join(changes)
        if self.forked:
            self._ignored(f"{what} of a forked process is not recorded; change it where init() was called")
        elif self._over_for_good:
            self._ignored(f"run {self.id} is over: {what} that is set now is not recorded")
        else:
            self._sender.change(**changes)

    def _ignored(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(why)

    @property
    def _over_for_good(self) -> bool:
        return self._over and self._session is not None and "store" not in self._session.__dict__
