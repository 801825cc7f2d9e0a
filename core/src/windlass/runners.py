"""The runner interface: where code runs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase

from attrs import field, frozen

from windlass.clock import lease_clock
from windlass.errors import ConfigError, FencedError
from windlass.models import JSON
from windlass.models.reason import Reason
from windlass.models.run import LogLine, ResourceUsage, RunHandle

__all__ = [
    "JobApi",
    "LogLine",
    "Mount",
    "ResourceUsage",
    "RunHandle",
    "RunSpec",
    "RunStatus",
    "Runner",
    "RunnerCapabilities",
    "RunnerState",
    "env_entries",
]


class RunnerState(StrEnum):
    """State of one attempt as its runner sees it. None of them means "unknown"."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    PREEMPTED = "preempted"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        """True when the attempt is over."""
        return self not in (RunnerState.STARTING, RunnerState.RUNNING)


@frozen(kw_only=True)
class RunnerCapabilities:
    """What a runner can do. Contract tests and the agent read these, never the runner's name.

    Attributes:
        needs_image: Runs container images only; code jobs must be built first.
        host_bound: What it starts lives on the agent's host and can be found from there only.
        local_mounts: `RunSpec.mounts` of this host's paths can be honoured.
        logs_after_exit: Logs can be read until `cleanup`, also after the end.
        exit_code: The exit code of the code is known.
        usage: Resource use is reported.
        stop_signal: `stop` delivers SIGTERM and waits for the grace before it kills.
        preemptible: May report ``preempted``.
    """

    needs_image: bool = True
    host_bound: bool = False
    local_mounts: bool = False
    logs_after_exit: bool = True
    exit_code: bool = True
    usage: bool = False
    stop_signal: bool = True
    preemptible: bool = False


@frozen(kw_only=True)
class Mount:
    """A path of the agent's host that must be visible to the code at `target`."""

    source: str
    target: str
    read_only: bool = True


@frozen(kw_only=True)
class JobApi:
    """Where the code finds the Windlass API.

    Attributes:
        url: Value for ``WINDLASS_BASE_URL``: ``https://…``, ``http://…`` or ``unix:///path/to/socket``.
        token: Run token, given to the code as ``WINDLASS_API_KEY`` through the runner's secret mechanism.
    """

    url: str
    token: str = field(repr=False)


@frozen(kw_only=True)
class RunSpec:
    """Everything a runner needs to start one attempt.

    Attributes:
        run_id: Id of the run.
        attempt_id: Name or label of the resource (`windlass.ids.attempt_id`). `Runner.submit` is idempotent by it.
        attempt: Number of the attempt, from 1.
        fence: Fencing number of the claim.
        entity, project, name, queue, author: For labels.
        command: Entry point and arguments. Empty: the image's own.
        args: Arguments for the image's own entry point; used only when `command` is empty.
        image: Container image reference, or empty for runners that need none.
        work_dir: Directory on this host with the code, made for this attempt alone, or empty.
        env: Plain environment variables.
        secret_env: Secret values; handed over through the runner's secret mechanism, never through argv or labels.
        resource_args: Queue config and overrides, templates and macros resolved, in the runner's own words.
        mounts: Paths of this host that the code must see.
        gpus: Indices of the host's GPUs that were reserved for it, which it may use and no others; None: the agent
            does not count GPUs, so the resource arguments alone decide.
        stop_grace: Seconds between SIGTERM and SIGKILL.
        not_after: When the claim ends at the earliest, by `windlass.clock.lease_clock` of this machine. Nothing may be
            started later: an agent that was frozen on its way would start again what its successor has finished.
    """

    run_id: str
    attempt_id: str
    attempt: int = 1
    fence: int = 0
    entity: str = ""
    project: str = ""
    name: str = ""
    queue: str = ""
    author: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    image: str = ""
    work_dir: str = ""
    env: Mapping[str, str] = field(factory=dict)
    secret_env: Mapping[str, str] = field(factory=dict, repr=False)
    resource_args: Mapping[str, JSON] = field(factory=dict)
    mounts: tuple[Mount, ...] = ()
    gpus: tuple[str, ...] | None = None
    stop_grace: float = 10.0
    not_after: float = math.inf

    def check_in_time(self) -> None:
        """To be called by runners, as the last thing before the code is started.

        Raises:
            FencedError: It may not be started any more, see `not_after`.
        """
        if lease_clock() > self.not_after:
            raise FencedError(f"{self.attempt_id} was not started: the claim on it ended meanwhile")


@frozen(kw_only=True)
class RunStatus:
    """State of one attempt.

    Attributes:
        state: See `RunnerState`.
        exit_code: Of the code, once known. Killed by signal N is 128 + N.
        reason: Why; required for every terminal state but ``finished``, wanted for ``starting``.
        usage: Resources used so far.
        started_at, finished_at: Seconds since the epoch, 0.0 if not known.
    """

    state: RunnerState
    exit_code: int | None = None
    reason: Reason | None = None
    usage: ResourceUsage | None = None
    started_at: float = 0.0
    finished_at: float = 0.0


class Runner(ABC):
    """Starts attempts and watches them. One instance serves many runs, from several threads."""

    @abstractmethod
    def submit(self, spec: RunSpec) -> RunHandle:
        """Start one attempt and return at once.

        Called by the agent after the claim was recorded as ``starting``. Idempotent by `RunSpec.attempt_id`:
        when a resource of that name exists already (a predecessor was killed right after it had submitted),
        return its handle and start nothing.

        Raises:
            SubmitError: Nothing was started and nothing is left. `retryable` says whether trying again may help.
            ConfigError: `RunSpec.resource_args` do not fit; never retried.
            FencedError: `RunSpec.not_after` has passed; nothing was started and nothing is left. The agent makes sure
                of its claim and asks again, or leaves the run to its successor.
        """

    def cancel(self, attempt_id: str) -> None:
        """End a `submit` of that attempt that is under way; it raises `SubmitError`. Does nothing when there is none.

        Called from another thread when the run was stopped or did not start in time. May be repeated. A runner whose
        `submit` returns at once need not know it; one that waits, for an image that is pulled, say, should.
        """

    @abstractmethod
    def find(self, attempt_id: str) -> RunHandle | None:
        """The handle of an attempt that was started before, by whichever process; None if there is none.

        Called by an agent that takes over a run. Finished attempts are found until `cleanup`.
        """

    @abstractmethod
    def poll(self, handles: Sequence[RunHandle]) -> Mapping[RunHandle, RunStatus]:
        """State of many attempts at once; every handle given is a key of the answer.

        Called by the agent in its loop, with all runs it watches; should cost one request, not one each.
        A resource that is gone is ``lost`` with a reason, not an error.

        Raises:
            RunnerError: The backend could not be asked; nothing is concluded from that.
        """

    @abstractmethod
    def logs(self, handle: RunHandle, since: str = "") -> Iterator[LogLine]:
        """Output behind the cursor `since` (empty: from the beginning), as far as it is there; does not wait.

        Called by the agent again and again while the attempt runs, and once after its end. Reading again from
        the same cursor gives the same bytes. An unfinished last line may come in pieces.

        Raises:
            RunNotFoundError: The resource is gone.
        """

    @abstractmethod
    def stop(self, handle: RunHandle, grace: float) -> None:
        """Ask the attempt to end: SIGTERM, and SIGKILL after `grace` seconds. Returns at once.

        Called on user stops, limits and hand-overs. May be repeated; stopping what has ended does nothing.
        The attempt then shows up as ``stopped`` unless it ended by itself.
        """

    @abstractmethod
    def cleanup(self, handle: RunHandle) -> None:
        """Remove what the attempt left: container, records, temporary secrets.

        Called after state and logs are stored. May be repeated. Ends the attempt first if it still runs.
        """

    def check(self) -> None:
        """Find out whether submissions would work: daemon reachable, permissions given.

        Called by ``windlass plugins check`` and ``windlass doctor``.

        Raises:
            WindlassError: With what to do about it.
        """

    def close(self) -> None:
        """Give back connections. What was started goes on. May be repeated."""


def env_entries(entries: Sequence[str], allowed: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Read environment entries of a queue's config: ``NAME=value``, or ``NAME`` for the agent's own value.

    Args:
        entries: As they stand in the config.
        allowed: Globs of the names that may be taken from the agent; what they do not cover is refused.
        environ: The agent's environment. An allowed name that is not set there is left out, as docker does.

    Raises:
        ConfigError: An entry is malformed, or a name is not allowed.
    """
    found: dict[str, str] = {}
    for index, entry in enumerate(entries):
        name, equals, value = entry.partition("=")
        where = f"$.env[{index}]"
        if not name or "\0" in entry or any(c.isspace() for c in name):
            raise ConfigError(f"{entry!r} is no environment entry", where=where, hint="Write NAME=value or NAME.")
        if equals:
            found[name] = value
        elif not any(fnmatchcase(name, pattern) for pattern in allowed):
            raise ConfigError(
                f"the agent does not pass on its environment variable {name}",
                where=where,
                hint=f"Add '{name}' to the runner's allow-env in launch-config.yaml, or give a value.",
            )
        elif name in environ:
            found[name] = environ[name]
    return found
