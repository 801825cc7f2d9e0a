"""What is stored. Several stores on one world are several processes on one database."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

from windlass.clock import months
from windlass.errors import FencedError, RunNotFoundError
from windlass.models.access import ApiKey, Member, User
from windlass.models.artifact import ArtifactVersion, Collection, DistributedPart, LineageEdge
from windlass.models.queue import Agent, NewItem, Queue, QueueRef
from windlass.models.run import LogLine, MetricRow, Run
from windlass.models.schedule import Budget, BudgetUnit, Trigger

__all__ = ["Item", "Token", "Upload", "World"]


@define
class Item:
    """A run that is on a queue and not over.

    Attributes:
        place: Smaller leaves first; a released run goes to the head.
        lease_until: End of the present claim, 0.0 when nobody holds it.
        lease_seconds: Length of that claim.
        rate: Money per hour.
        began_at: When the attempt at work began to run, 0.0 before that.
        expires_at, deadline_at: When it is killed if it still waits then; 0.0: never.
    """

    queue: QueueRef
    place: int
    lease_until: float = 0.0
    lease_seconds: float = 0.0
    rate: float = 0.0
    began_at: float = 0.0
    expires_at: float = 0.0
    deadline_at: float = 0.0

    @property
    def claimed(self) -> bool:
        """True when an agent holds it, or held it and died."""
        return self.lease_until > 0


@define
class Token:
    """A run token, kept under its hash."""

    run: str
    attempt: int


@define
class Upload:
    """A live upload session."""

    began: float
    renewed: float


@define(eq=False)
class World:
    """Everything the store knows. All access happens inside `changing`.

    Attributes:
        clock: Seconds since the epoch.
        bell: Counts what may concern an agent, by queue; None is for all.
        enqueue: How a trigger puts a request on its queue; set by the queues.
        spending: Hours and money by entity, month and user.
    """

    clock: Callable[[], float] = time.time
    runs: dict[str, Run] = field(factory=dict)
    items: dict[str, Item] = field(factory=dict)
    metrics: dict[str, dict[int, MetricRow]] = field(factory=dict)
    logs: dict[str, list[tuple[int, LogLine]]] = field(factory=dict)
    log_next: dict[str, int] = field(factory=dict)
    cursors: dict[tuple[str, str], str] = field(factory=dict)
    queues: dict[QueueRef, Queue] = field(factory=dict)
    agents: dict[str, Agent] = field(factory=dict)
    versions: dict[str, ArtifactVersion] = field(factory=dict)
    collections: dict[tuple[str, str, str], Collection] = field(factory=dict)
    edges: list[LineageEdge] = field(factory=list)
    uploads: dict[str, Upload] = field(factory=dict)
    version_numbers: dict[tuple[str, str, str], int] = field(factory=dict)
    parts: dict[tuple[str, str, str, str, str], DistributedPart] = field(factory=dict)
    users: dict[str, User] = field(factory=dict)
    keys: dict[str, ApiKey] = field(factory=dict)
    members: dict[tuple[str, str], Member] = field(factory=dict)
    tokens: dict[str, Token] = field(factory=dict)
    triggers: dict[tuple[str, str], Trigger] = field(factory=dict)
    budgets: dict[tuple[str, str, BudgetUnit], Budget] = field(factory=dict)
    spending: dict[tuple[str, str, str], tuple[float, float]] = field(factory=dict)
    blobs: dict[str, tuple[bytes, float]] = field(factory=dict)
    enqueue: Callable[[NewItem, float], Run] | None = None
    bell: int = 0
    _condition: threading.Condition = field(factory=threading.Condition)
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1))

    def number(self) -> int:
        """The next number of one sequence for all."""
        return next(self._numbers)

    @contextmanager
    def changing(self, ring: bool = False) -> Iterator[float]:
        """One transaction: exclusive; gives the time. With `ring`, waiting agents are woken when it succeeds."""
        with self._condition:
            yield self.clock()
            if ring:
                self.bell += 1
                self._condition.notify_all()

    def wait_for_bell(self, seen: int, timeout: float) -> int:
        """Sleep until the bell has rung more than `seen` times, or `timeout` seconds; returns how often it has."""
        with self._condition:
            self._condition.wait_for(lambda: self.bell > seen, timeout)
            return self.bell

    def run(self, run_id: str) -> Run:
        """A run. Raises `RunNotFoundError`."""
        try:
            return self.runs[run_id]
        except KeyError:
            raise RunNotFoundError(f"there is no run '{run_id}'", hint="See: windlass run list") from None

    def bill(self, run: Run, now: float) -> float:
        """Close the account of the attempt at work, and return its cost."""
        item = self.items.get(run.id)
        if item is None or not item.began_at:
            return 0.0
        began, item.began_at = item.began_at, 0.0
        for month, seconds in months(began, now).items():
            key, passed = (run.entity, month, run.author), seconds / 3600
            hours, money = self.spending.get(key, (0.0, 0.0))
            self.spending[key] = (hours + passed, money + passed * item.rate)
        return (now - began) / 3600 * item.rate

    def guarded(
        self, run_id: str, *, fence: int | None = None, attempt: int | None = None, agent: str | None = None
    ) -> Run:
        """A run, if claim, attempt and agent are the present ones. Raises `FencedError`."""
        run = self.run(run_id)
        released = not run.agent and not run.state.is_terminal
        taken = agent is not None and run.agent != agent
        if taken or (fence is not None and (run.fence != fence or released)):
            raise FencedError(
                f"the claim {fence} on run '{run_id}' does not hold any more",
                hint="Another agent has it, or it is back on its queue; stop working on it.",
                context={"run": run_id, "fence": fence, "present": run.fence},
            )
        if attempt is not None and run.attempt != attempt:
            raise FencedError(
                f"attempt {attempt} of run '{run_id}' was superseded by attempt {run.attempt}",
                hint="Stop; nothing more of this attempt is recorded.",
                context={"run": run_id, "attempt": attempt, "present": run.attempt},
            )
        return run
