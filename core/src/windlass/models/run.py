"""Runs: executions that are tracked."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from windlass.models import JSON
from windlass.models.launch import LaunchSpec
from windlass.models.reason import Reason


class RunState(StrEnum):
    """State of a run, and of the queue item it came from.

    ``queued → pending → running → finished | failed | killed | crashed``; ``pending`` and ``running`` may return
    to ``queued`` (preemption, retry, hand-over).
    """

    QUEUED = "queued"
    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    CRASHED = "crashed"

    @property
    def is_terminal(self) -> bool:
        """True when nothing changes any more."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({RunState.FINISHED, RunState.FAILED, RunState.KILLED, RunState.CRASHED})


class RunPhase(StrEnum):
    """What a pending run is waiting for."""

    NONE = ""
    PREPARING = "preparing"
    BUILDING = "building"
    PUSHING = "pushing"
    STARTING = "starting"


@frozen(kw_only=True)
class RunHandle:
    """A runner's way back to what it started. Plain JSON: any process may poll, stop and clean it up.

    Equality and hash look at `runner` and `id` only.

    Attributes:
        runner: Name of the runner plugin.
        id: Attempt id (`windlass.ids.attempt_id`), which is also the name or label of the resource.
        data: What the runner needs to find it (container id, namespace, pid and start time …).
    """

    runner: str
    id: str
    data: dict[str, JSON] = field(factory=dict, eq=False)


@frozen(kw_only=True)
class ResourceUsage:
    """What an attempt used, as far as the runner can tell.

    Attributes:
        cpu_seconds: User and system time of the whole attempt.
        max_rss: Largest resident memory in bytes.
        gpu_seconds: Sum over its GPUs of busy seconds; None where nobody tells (the agent gives out no GPUs,
            or the host has no ``nvidia-smi``).
    """

    cpu_seconds: float | None = None
    max_rss: int | None = None
    gpu_seconds: float | None = None


@frozen(kw_only=True, slots=False)  # with slots it takes twice as long to make one, and claims make many
class Run:
    """One tracked execution.

    Times are seconds since the epoch (UTC); 0.0 means "not yet".

    Attributes:
        id: Unique id, 8 characters unless the user chose one.
        name: Display name.
        entity: Owner.
        project: Name space.
        state: See `RunState`.
        phase: What a pending run is doing.
        reason: Why it is in this state.
        queue: Queue name, ``entity/name`` for a queue of another entity, or empty for a run that was not queued.
        job: Artifact path of the job, or empty.
        author: Who asked for it.
        priority: 0 critical … 3 low.
        resource: Runner plugin, or empty.
        attempt: Number of the execution, from 1.
        fence: Fencing number of the present claim; 0 before the first.
        agent: Id of the claiming agent, or empty.
        host: Host that holds the attempt when the runner is bound to one, or empty.
        handle: The runner's handle of the present attempt.
        image: Image that is run, or empty.
        exit_code: Exit code of the last attempt, once known.
        config: Inputs.
        summary: Last values and whatever the code put there.
        tags, notes, group, job_type: Free labels, as given to ``windlass.init``.
        timings: Seconds by step: ``queue``, ``prepare``, ``build``, ``push``, ``start``, ``run``.
        usage: Resources used by the last attempt.
        cost: Money by the queue's prices, of all attempts that are over.
        spec: What was asked for, for launched runs.
        stop_requested: Somebody asked it to stop.
        not_before: A queued run is not claimed before this time.
        created_at, queued_at, claimed_at, started_at, finished_at, heartbeat_at: Times.
    """

    id: str
    name: str = ""
    entity: str = ""
    project: str = ""
    state: RunState = RunState.RUNNING
    phase: RunPhase = RunPhase.NONE
    reason: Reason | None = None
    queue: str = ""
    job: str = ""
    author: str = ""
    priority: int = 2
    resource: str = ""
    attempt: int = 1
    fence: int = 0
    agent: str = ""
    host: str = ""
    handle: RunHandle | None = None
    image: str = ""
    exit_code: int | None = None
    config: dict[str, JSON] = field(factory=dict)
    summary: dict[str, JSON] = field(factory=dict)
    tags: tuple[str, ...] = ()
    notes: str = ""
    group: str = ""
    job_type: str = ""
    timings: dict[str, float] = field(factory=dict)
    usage: ResourceUsage | None = None
    cost: float = 0.0
    spec: LaunchSpec | None = None
    stop_requested: bool = False
    not_before: float = 0.0
    created_at: float = 0.0
    queued_at: float = 0.0
    claimed_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    heartbeat_at: float = 0.0


@frozen(kw_only=True)
class RunUpdate:
    """Changes to a run. None leaves a field as it is; mappings are merged key by key at the top level.

    A terminal `state` also sets ``finished_at``, frees the queue's slot and ends the run's tokens;
    ``running`` sets ``started_at`` if it is not set.

    Attributes:
        reopen: A terminal run that was never queued is ``running`` again, as it was before its end (resumed by
            ``windlass.init``); for every other run it means nothing.
    """

    name: str | None = None
    state: RunState | None = None
    phase: RunPhase | None = None
    reason: Reason | None = None
    host: str | None = None
    handle: RunHandle | None = None
    image: str | None = None
    exit_code: int | None = None
    job: str | None = None
    config: dict[str, JSON] | None = None
    summary: dict[str, JSON] | None = None
    tags: tuple[str, ...] | None = None
    notes: str | None = None
    timings: dict[str, float] | None = None
    usage: ResourceUsage | None = None
    heartbeat: bool = False
    reopen: bool = False


@frozen(kw_only=True)
class RunFilter:
    """Which runs to list; empty fields match all. Newest first.

    Attributes:
        job: Artifact path of the job, as the run has it; with a queue that is one look into an index.
        before: Cursor: only runs older than this run id's creation (exclusive), for paging.
        limit: At most so many.
    """

    entity: str = ""
    project: str = ""
    queue: str = ""
    agent: str = ""
    group: str = ""
    job: str = ""
    states: tuple[RunState, ...] = ()
    before: str = ""
    limit: int = 100


@frozen(kw_only=True)
class LogLine:
    """A piece of a run's output.

    Attributes:
        stream: ``stdout``, ``stderr``, ``build`` or ``agent``.
        data: Bytes as they came, usually one line with its newline.
        cursor: Opaque place behind this piece; given back as ``since`` to go on from here.
        time: Seconds since the epoch when it was written, 0.0 if unknown.
    """

    stream: str = "stdout"
    data: bytes = b""
    cursor: str = ""
    time: float = 0.0


@frozen(kw_only=True)
class LogPage:
    """A part of a run's stored log.

    Attributes:
        lines: Pieces in order.
        next: Position to ask for next (a count of stored pieces).
        ended: The run is over and nothing will be added.
    """

    lines: tuple[LogLine, ...] = ()
    next: int = 0
    ended: bool = False


LOST_AFTER = 180.0
"""Seconds after which an agent, or a run that no agent runs, is lost when it no longer says that it lives."""


def last_heard(run: Run) -> float:
    """When a run that says itself that it lives last said so."""
    return max(run.heartbeat_at, run.started_at, run.created_at)


def is_unheard(run: Run, now: float) -> bool:
    """Whether a run that says itself that it lives, as no agent runs it, has stopped saying so: its process is gone."""
    return run.state is RunState.RUNNING and not run.queue and now - last_heard(run) > LOST_AFTER


def fell_silent(run: Run, now: float) -> bool:
    """Whether a run that is unheard did say before that it lives. Others (Dagster's steps, say) never do."""
    return run.heartbeat_at > 0 and is_unheard(run, now)


def was_unheard(run: Run) -> bool:
    """Whether a run was ended because nobody heard of it; it goes on if it is heard of again (its machine slept)."""
    return run.state is RunState.CRASHED and not run.queue and run.reason == Reason.unheard()


@frozen(kw_only=True)
class MetricRow:
    """One step of a run's history.

    Attributes:
        step: Non-negative, does not fall within an attempt.
        time: Seconds since the epoch.
        values: What was logged, JSON.
    """

    step: int
    time: float
    values: dict[str, JSON]
