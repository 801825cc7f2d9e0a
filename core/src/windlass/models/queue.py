"""Queues, claims and agents."""

from __future__ import annotations

from attrs import field, frozen

from windlass.models import JSON
from windlass.models.launch import LaunchPolicy, LaunchSpec
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState


@frozen(kw_only=True)
class TemplateVariable:
    """A ``{{name}}`` field of a queue's config that submitters may fill.

    Attributes:
        type: ``string``, ``integer`` or ``float``.
        default: Used when no value is given; None makes the value required.
        enum: Allowed values; empty allows any.
        minimum, maximum: Inclusive bounds of numbers.
        description: Shown to submitters.
    """

    type: str = "string"
    default: JSON = None
    enum: tuple[JSON, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    description: str = ""


@frozen(kw_only=True)
class QueueLimits:
    """Ceilings of a queue. None: no ceiling.

    Attributes:
        concurrency: Runs of this queue at the same time.
        per_user: Runs of one author at the same time.
    """

    concurrency: int | None = None
    per_user: int | None = None


@frozen(kw_only=True)
class Queue:
    """An ordered list of launch requests and the rules for running them.

    Attributes:
        entity, name: Together they identify it. Name: 1 to 64 characters of ``[A-Za-z0-9_.-]``.
        resource: Runner plugin that runs its items.
        config: Resource config in the resource's own words, with ``{{templates}}`` and ``${macros}``.
        templates: Template variables by name.
        open_fields: Paths below which a submitter may set values himself: ``resource_args.<path>``, ``env.<NAME>``,
            ``env`` or ``resource_args`` for all of it.
        prioritized: Items may have a priority.
        fair_share: Submitters take turns.
        paused: Nothing is claimed.
        limits: Ceilings.
        policy: Defaults for runs of this queue.
        policy_max: The most a submitter may ask for; None in a field forbids changing it.
        prices: Money per hour of a run: ``hour`` for the run itself, ``cpu`` for each core, ``memory`` for each GiB,
            ``gpu`` for each device, other names for each unit of the resource argument of that name.
        created_at, updated_at: Seconds since the epoch.
    """

    entity: str
    name: str
    resource: str
    config: dict[str, JSON] = field(factory=dict)
    templates: dict[str, TemplateVariable] = field(factory=dict)
    open_fields: tuple[str, ...] = ()
    prioritized: bool = False
    fair_share: bool = False
    paused: bool = False
    limits: QueueLimits = QueueLimits()
    policy: LaunchPolicy = LaunchPolicy()
    policy_max: LaunchPolicy | None = None
    description: str = ""
    prices: dict[str, float] = field(factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0


@frozen(kw_only=True)
class QueueRef:
    """Names a queue."""

    entity: str
    name: str


def queue_name_in(ref: QueueRef, entity: str) -> str:
    """How runs of an entity name a queue (`Run.queue`): ``name``, or ``entity/name`` for a queue of another entity."""
    return ref.name if ref.entity == entity else f"{ref.entity}/{ref.name}"


def queue_named(text: str, entity: str) -> QueueRef:
    """The queue that an entity calls so, the inverse of `queue_name_in`."""
    owner, slash, name = text.rpartition("/")
    return QueueRef(entity=owner if slash else entity, name=name)


def queue_of(run: Run) -> QueueRef:
    """The queue that a run was put on."""
    return queue_named(run.queue, run.entity)


@frozen(kw_only=True)
class QueueStatus:
    """How full a queue is."""

    queued: int = 0
    pending: int = 0
    running: int = 0
    agents: int = 0


@frozen(kw_only=True)
class Waiting:
    """Why a run is not running yet.

    Attributes:
        position: Its place in the line of its queue, 1 is next; 0 when it does not stand in line.
        reasons: All it waits for. Codes: ``agent-absent``, ``agents-busy``, ``slots-missing`` (no agent offers what it
            needs), ``slots-taken`` (other runs have it now), ``queue-paused``, ``concurrency-limit``, ``user-limit``,
            ``fair-share`` (it is another submitter's turn), ``dependency``, ``back-off``, ``budget``,
            ``behind-others``, ``queue-timeout`` (its time is over), ``next`` (nothing holds it), ``phase`` (claimed: it
            is being prepared). Empty when it runs or is over.
        starts_in: Seconds until it is expected to start; None when that depends on more than time, or on nothing known.
        takes: Seconds that like runs (same job and queue) took, the median; None when there were none.
        history: How many of them were looked at.
        expires_in: Seconds until it is taken off the queue unstarted, 0 when that is due; None: never.
    """

    run: str
    state: str = ""
    position: int = 0
    reasons: tuple[Reason, ...] = ()
    starts_in: float | None = None
    takes: float | None = None
    history: int = 0
    expires_in: float | None = None


@frozen(kw_only=True)
class NewItem:
    """A launch request to be put on a queue.

    Attributes:
        run_id: Chosen by the submitter, so that a repeated call does not enqueue twice.
    """

    run_id: str
    queue: QueueRef
    spec: LaunchSpec
    name: str = ""
    project: str = ""
    entity: str = ""
    author: str = ""
    priority: int = 2
    config: dict[str, JSON] = field(factory=dict)

    def queued(self, queue: Queue, now: float) -> Run:
        """The run that this request is on its queue, from `now` on."""
        entity = self.entity or queue.entity
        return Run(
            id=self.run_id,
            name=self.name or self.run_id,
            entity=entity,
            project=self.project,
            state=RunState.QUEUED,
            queue=queue_name_in(self.queue, entity),
            job=self.spec.job,
            author=self.author,
            priority=self.priority,
            resource=self.spec.resource or queue.resource,
            config=self.config,
            spec=self.spec,
            created_at=now,
            queued_at=now,
        )


@frozen(kw_only=True)
class ClaimRequest:
    """An agent asks for work.

    Attributes:
        agent: Id of the registered agent.
        host: Its host name; runs bound to another host are left to agents there for ten leases.
        queues: In the order in which they are tried.
        limit: At most so many items.
        lease_seconds: How long the claim holds without renewal.
        capacity: Free slots by name; items that need more are left. Empty: not looked at.
        run: Only this run, and only once its claim has ended: nothing that waits is taken. Empty: any.
    """

    agent: str
    host: str = ""
    queues: tuple[QueueRef, ...] = ()
    limit: int = 1
    lease_seconds: float = 60.0
    capacity: dict[str, float] = field(factory=dict)
    run: str = ""


@frozen(kw_only=True)
class Claim:
    """A run that now belongs to the asking agent, until the lease ends.

    Attributes:
        run: The run as it stands, with the new fence in ``run.fence``.
        queue: The queue as it stands.
        lease_until: Seconds since the epoch by the store's clock.
        takeover: The run was another agent's whose lease ended; ask ``runner.find`` before submitting.
    """

    run: Run
    queue: Queue
    lease_until: float
    takeover: bool = False


@frozen(kw_only=True)
class Lease:
    """Names a claim: the run, the fencing number it was claimed under, and by whom (empty: not said)."""

    run_id: str
    fence: int
    agent: str = ""


@frozen(kw_only=True)
class Renewal:
    """Answer to a renewal.

    Attributes:
        lost: Run ids that belong to somebody else now (or are over); stop working on them.
        stop: Run ids whose stop was requested.
        drain: The agent itself was asked to end.
    """

    lost: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    drain: bool = False


@frozen(kw_only=True)
class Agent:
    """A registered agent.

    Attributes:
        queues: Queues it takes items from.
        max_jobs: At most so many runs at once; -1 is unlimited.
        state: ``polling``, ``running``, ``waiting`` (a backend does not answer, so queues that need it are left alone),
            ``draining`` or ``stopped``; ``lost`` when the heartbeat stopped.
        runs: Ids of the runs it holds.
        slots: Amounts of what it gives to its runs, by name (``cpu`` cores, ``memory`` bytes, ``gpu`` devices …), taken
            or not. Empty: it counts nothing but runs.
    """

    id: str
    name: str = ""
    entity: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    queues: tuple[QueueRef, ...] = ()
    max_jobs: int = 1
    state: str = "polling"
    runs: tuple[str, ...] = ()
    slots: dict[str, float] = field(factory=dict)
    drain_requested: bool = False
    created_at: float = 0.0
    heartbeat_at: float = 0.0
