"""The metadata store interface: runs, queues, agents, artifacts, access, schedule: small interfaces on one object.

Every method takes and returns frozen values of `windlass.models`, so that the HTTP API is this interface, method by
method: ``POST /api/v1/<part>/<method>`` with the arguments as one JSON object. Hence no callbacks, no iterators, and
only keyword-safe argument names. All methods may be called from several threads and processes.

Every method may raise `StoreUnavailableError` (busy, out of reach): nothing was changed or, for a method that says
"may be repeated", calling again is safe. Times are the store's own clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from windlass.errors import UsageError

if TYPE_CHECKING:  # an artifact's put loads no queues: half of a short command's time goes into making classes
    from windlass.blobs import BlobStore
    from windlass.models.access import ApiKey, Member, NewApiKey, Principal, Role, User
    from windlass.models.artifact import (
        ArtifactFilter,
        ArtifactRef,
        ArtifactVersion,
        Collection,
        CollectionUpdate,
        Committed,
        DistributedPart,
        EdgeKind,
        LineageEdge,
        ManifestRoot,
        NewVersion,
        VersionUpdate,
    )
    from windlass.models.queue import (
        Agent,
        Claim,
        ClaimRequest,
        Lease,
        NewItem,
        Queue,
        QueueRef,
        QueueStatus,
        Renewal,
        Waiting,
    )
    from windlass.models.run import LogLine, LogPage, MetricRow, Run, RunFilter, RunUpdate
    from windlass.models.schedule import Budget, Trigger

__all__ = [
    "AccessStore",
    "AgentStore",
    "ArtifactStore",
    "BlobPlace",
    "MetadataStore",
    "MetastoreCapabilities",
    "QueueStore",
    "RunStore",
    "ScheduleStore",
]


class MetastoreCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a metadata store can do.

    Attributes:
        embedded: It is a file of this host; an agent must serve the API to its jobs.
        wakes: `QueueStore.wait` is woken by writers in other processes, and does not poll.
    """

    embedded: bool = False
    wakes: bool = True


class RunStore(ABC):
    """Runs, their history and their logs.

    A run that no agent runs says itself that it lives. When it `fell_silent`, whoever looks at it ends it: it is
    ``crashed``, finished when it was last heard of. So no process is needed that looks after such runs. One that is
    heard of again (`RunUpdate.heartbeat`) goes on, as its machine has slept or the store was out of its reach.
    """

    @abstractmethod
    def create(self, run: Run) -> Run:
        """Store a run that was not queued (``windlass.init`` outside a launch, or run here and now).

        Raises `ConflictError` if the id is taken.
        """

    @abstractmethod
    def get(self, run_id: str) -> Run:
        """One run. Raises `RunNotFoundError`."""

    @abstractmethod
    def list(self, where: RunFilter) -> tuple[Run, ...]:
        """Runs, newest first."""

    @abstractmethod
    def update(
        self,
        run_id: str,
        changes: RunUpdate,
        fence: int | None = None,
        attempt: int | None = None,
        agent: str | None = None,
    ) -> Run:
        """Change a run and return it.

        With `fence`, only if that claim still holds; with `attempt`, only if that attempt is the present one
        (this is how the code of a superseded attempt is kept out); with `agent`, only if that agent has the claim: a
        store that crashed may have forgotten a claim, and give its number to another agent. A terminal run takes no
        further state; summary, notes and tags may still change.

        What ends a run, and what says that an attempt is ``starting``, outlives a crash of the store.

        Raises:
            FencedError: The claim, attempt or agent is not the present one. Nothing was changed.
            ConflictError: The run is over and `changes.state` is something else.
            RunNotFoundError: No such run.
        """

    @abstractmethod
    def request_stop(self, run_id: str) -> Run:
        """Ask for the end of a run. A queued run is ``killed`` at once; a claimed one when its agent sees it.

        One that no agent runs sees it itself; when it `is_unheard`, it is ``crashed`` at once.
        """

    @abstractmethod
    def delete(self, run_id: str) -> None:
        """Remove a terminal run with its logs and history. Raises `ConflictError` if it is not over."""

    @abstractmethod
    def log_metrics(self, run_id: str, rows: Sequence[MetricRow], attempt: int | None = None) -> None:
        """Add history rows. A row of a step that exists is merged into it, so the call may be repeated."""

    @abstractmethod
    def metrics(self, run_id: str, after_step: int = -1, limit: int = 1000) -> tuple[MetricRow, ...]:
        """History rows with a step greater than `after_step`, by step."""

    @abstractmethod
    def append_log(
        self, run_id: str, lines: Sequence[LogLine], source: str, before: str, after: str, fence: int | None = None
    ) -> bool:
        """Add output, exactly once.

        `source` names where it was read (attempt id and stream set), `before` is the cursor from which it was
        read and `after` the one behind it. Nothing is added, and False returned, when the stored cursor of
        `source` is not `before`: somebody else has stored this piece already; ask `log_cursor` and go on there.
        Output may be forgotten again when the store crashes. A call without lines makes sure that what is stored up to
        `before` stays; False says that some of it was forgotten.
        Above the size cap of a run (64 MiB) the head and the newest part are kept and a mark stands between.
        """

    @abstractmethod
    def log_cursor(self, run_id: str, source: str) -> str:
        """The cursor up to which output of `source` is stored; empty at the beginning."""

    @abstractmethod
    def read_log(self, run_id: str, start: int = 0, limit: int = 1000) -> LogPage:
        """Stored output from position `start`, at most `limit` pieces."""


class QueueStore(ABC):
    """Queues, and the claims on their items."""

    @abstractmethod
    def create(self, queue: Queue) -> Queue:
        """Store a queue. Raises `ConflictError` if the name is taken."""

    @abstractmethod
    def get(self, ref: QueueRef) -> Queue:
        """One queue. Raises `NotFoundError` naming the queues there are."""

    @abstractmethod
    def list(self, entity: str = "") -> tuple[Queue, ...]:
        """Queues by name."""

    @abstractmethod
    def update(self, queue: Queue) -> Queue:
        """Replace a queue's definition. `updated_at` must be what was read, else `ConflictError`."""

    @abstractmethod
    def delete(self, ref: QueueRef, force: bool = False) -> None:
        """Remove a queue. Items in it: `ConflictError`, or with `force` the waiting ones are killed."""

    @abstractmethod
    def status(self, ref: QueueRef) -> QueueStatus:
        """Counts of the items that are not over."""

    @abstractmethod
    def explain(self, run_id: str) -> Waiting:
        """Why a run is not running yet: its place, all it waits for, and when it is expected to start.

        Raises `RunNotFoundError`.
        """

    @abstractmethod
    def enqueue(self, items: Sequence[NewItem]) -> tuple[Run, ...]:
        """Put requests on their queues, all or none, as ``queued`` runs. May be repeated: known run ids are left.

        Items of one queue and priority leave in the order of arrival.
        """

    @abstractmethod
    def claim(self, request: ClaimRequest) -> tuple[Claim, ...]:
        """Take items: expired claims of other agents first, then waiting ones by priority and age.

        Each run gets a new fence. A waiting item becomes ``pending`` / ``preparing``; a taken-over run keeps its
        state. Paused queues, limits, budgets, ``not_before`` and stop requests are obeyed. Empty when there is nothing.
        Smaller items overtake one that lacks capacity for ten minutes (`windlass.launch.needs.PATIENCE`); then an
        agent whose slots are enough for it takes no other before it.
        Items that have waited longer than their policy allows are ``killed`` (``queue-timeout``, ``deadline``), and
        triggers that are due put their requests on their queues, also when nothing may be taken (a `limit` of 0).
        """

    @abstractmethod
    def renew(self, agent: str, leases: Sequence[Lease], lease_seconds: float) -> Renewal:
        """Extend claims, and be the agent's heartbeat. May be repeated."""

    @abstractmethod
    def release(self, lease: Lease, delay: float, changes: RunUpdate, next_attempt: bool) -> Run:
        """Give a run back to its queue, at the head of its priority, to be claimed after `delay` seconds.

        `next_attempt` counts the attempt up (retry after preemption or failure) and forgets handle, host and exit
        code; without it the run is handed over as it stands, running work included.

        Raises `FencedError`.
        """

    @abstractmethod
    def wait(self, queues: Sequence[QueueRef], timeout: float) -> bool:
        """Sleep until something may have changed for an agent of these queues (new item, release, stop, drain).

        True: look. False: `timeout` seconds have passed. Wakes within 100 ms; costs no CPU meanwhile.
        """


class AgentStore(ABC):
    """Agents and their heartbeats."""

    @abstractmethod
    def register(self, agent: Agent) -> Agent:
        """Store an agent that starts. All its queues must exist, else `NotFoundError` naming those that do."""

    @abstractmethod
    def heartbeat(self, agent_id: str, state: str, runs: Sequence[str]) -> Agent:
        """Say that the agent lives."""

    @abstractmethod
    def get(self, agent_id: str) -> Agent:
        """One agent. Raises `NotFoundError`."""

    @abstractmethod
    def list(self, entity: str = "") -> tuple[Agent, ...]:
        """Agents, newest first; those without a heartbeat for three minutes as ``lost``."""

    @abstractmethod
    def request_drain(self, agent_id: str) -> Agent:
        """Ask an agent to take nothing more and end when its runs are over."""


class ArtifactStore(ABC):
    """The index of artifacts. Bytes and manifests lie in the blob store."""

    @abstractmethod
    def commit(self, new: NewVersion) -> Committed:
        """Make a version visible, in one transaction: number, aliases (``latest`` always), output edge of the run.

        When the collection holds a version with the same digest already, that one is returned and only aliases
        and the edge change. An alias moves away from the version that had it.

        Raises:
            FencedError: `new.attempt` is not the present attempt of `new.run`.
            UsageError: A name, type, alias or tag breaks the rules, or the collection has another type.
        """

    @abstractmethod
    def get(self, ref: ArtifactRef) -> ArtifactVersion:
        """The version a path names. Raises `ArtifactNotFoundError` listing what is there."""

    @abstractmethod
    def get_by_id(self, version_id: str) -> ArtifactVersion:
        """The version with that id, deleted ones included. Raises `ArtifactNotFoundError`."""

    @abstractmethod
    def list(self, where: ArtifactFilter) -> tuple[ArtifactVersion, ...]:
        """Versions, newest first."""

    @abstractmethod
    def collection(self, entity: str, project: str, name: str) -> Collection:
        """One collection. Raises `ArtifactNotFoundError`."""

    @abstractmethod
    def collections(self, entity: str = "", project: str = "", type: str = "") -> tuple[Collection, ...]:
        """Collections by entity, project and name."""

    @abstractmethod
    def update_collection(self, entity: str, project: str, name: str, changes: CollectionUpdate) -> Collection:
        """Change a collection's labels."""

    @abstractmethod
    def update(self, version_id: str, changes: VersionUpdate) -> ArtifactVersion:
        """Change a version's labels. An alias moves away from the version that had it."""

    @abstractmethod
    def delete(self, version_id: str, force: bool = False) -> ArtifactVersion:
        """Delete a version; it can be restored until garbage collection purges it.

        Aliases other than ``latest`` are refused unless `force`; protected aliases always. `latest` moves to the
        newest version that is left. Raises `ConflictError`.
        """

    @abstractmethod
    def restore(self, version_id: str) -> ArtifactVersion:
        """Undo a deletion. Raises `ArtifactNotFoundError` when it is purged."""

    @abstractmethod
    def use(self, run_id: str, version_id: str, attempt: int | None = None) -> None:
        """Record that a run uses a version. May be repeated."""

    @abstractmethod
    def edges(
        self, run_id: str = "", version_id: str = "", kind: EdgeKind | None = None, collected: bool = False
    ) -> tuple[LineageEdge, ...]:
        """Lineage of a run or of a version; with `collected` also to versions that were purged since."""

    @abstractmethod
    def begin_upload(self, owner: str) -> str:
        """Open an upload session. While it is renewed, no blob that appeared since it began is collected."""

    @abstractmethod
    def renew_upload(self, upload: str) -> None:
        """Keep an upload session; call at least once a minute. It ends ten minutes after the last renewal."""

    @abstractmethod
    def end_upload(self, upload: str) -> None:
        """Close an upload session. May be repeated."""

    @abstractmethod
    def oldest_upload(self) -> float:
        """When the oldest live upload session began; infinity when there is none."""

    @abstractmethod
    def roots(self, after: str = "", limit: int = 10000, without: float = 0.0) -> tuple[ManifestRoot, ...]:
        """Manifests that keep blobs alive, by manifest digest greater than `after`.

        Those that only versions hold which `purge` of the time `without` would forget are left out.
        """

    @abstractmethod
    def purge(self, deleted_before: float, dry_run: bool = False) -> tuple[str, ...]:
        """Forget versions deleted (or out of their life time) before that time; returns their ids. Lineage names them.

        A version with a protected alias outlives its life time. With `dry_run` nothing is forgotten.
        """

    @abstractmethod
    def add_part(self, part: DistributedPart) -> None:
        """Store one run's part of a version that several runs write."""

    @abstractmethod
    def take_parts(
        self, entity: str, project: str, name: str, group: str, remove: bool = False
    ) -> tuple[DistributedPart, ...]:
        """The parts stored so far, by part name; `remove` forgets them (after the commit)."""


class AccessStore(ABC):
    """Users, keys, roles and run tokens."""

    @abstractmethod
    def issue_run_token(self, run_id: str, attempt: int, fence: int) -> str:
        """A token good for this run and its project only, while the run is not over and the attempt is present.

        Raises `FencedError` when the claim does not hold.
        """

    @abstractmethod
    def authenticate(self, token: str) -> Principal:
        """Whose token or key this is. Raises `AccessError`, also for tokens of runs that are over."""

    @abstractmethod
    def role(self, principal: Principal, entity: str) -> Role | None:
        """The principal's role in an entity, None if it has none."""

    @abstractmethod
    def create_user(self, user: User) -> User:
        """Add a user or service account. Its own entity of the same name comes with it, as admin."""

    @abstractmethod
    def users(self) -> tuple[User, ...]:
        """All users by name."""

    @abstractmethod
    def create_key(
        self, user: str, description: str = "", expires_in: float | None = None, not_after: float = 0.0
    ) -> NewApiKey:
        """Make an API key. The secret is shown here once and kept only as a hash.

        With `expires_in` it is refused so many seconds later, by the store's clock; with `not_after` from that time
        on, if that is earlier. Raises `UsageError` unless `expires_in` is a positive number.
        """

    @abstractmethod
    def keys(self, user: str) -> tuple[ApiKey, ...]:
        """A user's keys."""

    @abstractmethod
    def revoke_key(self, key_id: str) -> bool:
        """Make a key useless. May be repeated.

        Returns:
            Whether there was one.
        """

    @abstractmethod
    def set_member(self, member: Member) -> None:
        """Give a user a role in an entity.

        Raises:
            NotFoundError: There is no such user.
            ConflictError: The entity's only admin would be none any more.
        """

    @abstractmethod
    def remove_member(self, entity: str, user: str) -> None:
        """Take a user's role away. May be repeated. Raises `ConflictError` for the only admin of the entity."""

    @abstractmethod
    def members(self, entity: str) -> tuple[Member, ...]:
        """Users with a role in an entity."""


class ScheduleStore(ABC):
    """What starts runs without anybody asking, and what runs may cost.

    An event is recorded in the transaction that makes it (a version, a moved alias), and its request is put on the
    queue in one transaction with the note that this is done: once, whoever does it. The process that made the event
    does it at once; what it could not do, or what time brings, is done by the next `QueueStore.claim` of anybody.
    """

    @abstractmethod
    def create_trigger(self, trigger: Trigger) -> Trigger:
        """Store a trigger. Its queue must exist (`NotFoundError`). Raises `ConflictError` if the name is taken."""

    @abstractmethod
    def get_trigger(self, entity: str, name: str) -> Trigger:
        """One trigger. Raises `NotFoundError` naming those there are."""

    @abstractmethod
    def triggers(self, entity: str = "") -> tuple[Trigger, ...]:
        """Triggers by entity and name."""

    @abstractmethod
    def pause_trigger(self, entity: str, name: str, paused: bool) -> Trigger:
        """Pause a trigger, or let it go on from now. May be repeated."""

    @abstractmethod
    def delete_trigger(self, entity: str, name: str) -> None:
        """Remove a trigger. Raises `NotFoundError`."""

    @abstractmethod
    def set_budget(self, budget: Budget) -> Budget:
        """Set what an entity, or a user in it, may use in a month; a negative limit removes the budget."""

    @abstractmethod
    def budgets(self, entity: str = "") -> tuple[Budget, ...]:
        """Budgets by entity, user and unit, with what was used this month."""


class MetadataStore(ABC):
    """One metadata store: its parts, the blobs that belong to it, and its life."""

    runs: RunStore
    queues: QueueStore
    agents: AgentStore
    artifacts: ArtifactStore
    access: AccessStore
    schedule: ScheduleStore
    blobs: BlobStore

    @abstractmethod
    def whoami(self) -> Principal:
        """Who the store takes us for: ``local`` for an embedded one, else whose key or token we hold."""

    @abstractmethod
    def now(self) -> float:
        """The store's clock, seconds since the epoch."""

    def migrate(self) -> None:
        """Bring the schema to this version. Called by ``windlass server`` and when an embedded store is opened."""

    def check(self) -> None:
        """Find out whether the store answers and its schema fits. Raises `WindlassError` with advice."""

    def copy_to(self, target: MetadataStore) -> dict[str, int]:
        """Copy everything into an empty store; returns how many rows of each kind. No agent may be at work.

        Raises:
            UsageError: These two cannot be copied.
            ConflictError: The target is not empty.
        """
        raise UsageError(
            f"a {type(self).__name__} cannot be copied into a {type(target).__name__}",
            where="store copy",
            hint="Name two databases: sqlite:///… and postgresql://…",
        )

    @abstractmethod
    def close(self) -> None:
        """Give back connections. May be repeated."""


class BlobPlace(ABC):
    """What a metadata store offers beside, when it records where its blobs are (`windlass store blobs`)."""

    @abstractmethod
    def blob_root(self) -> str:
        """URI of the folder with the blobs, without ``/`` at its end."""

    @abstractmethod
    def move_blob_root(self, before: str, after: str) -> None:
        """Record another folder. Moves nothing.

        Raises:
            ConflictError: The recorded one is not `before`.
        """
