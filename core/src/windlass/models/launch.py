"""What a submitter asks for: the part of a run that was decided before it was claimed."""

from __future__ import annotations

from enum import IntEnum

from attrs import field, frozen

from windlass.models import JSON
from windlass.models.source import JobSource


class Priority(IntEnum):
    """Urgency of a queue item; smaller goes first."""

    CRITICAL = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3


@frozen(kw_only=True)
class LaunchPolicy:
    """Limits and retries of one run. None or empty: the queue's value, else the default written here.

    Durations are in seconds, ten years at the most (`windlass.models.LONGEST`).

    Attributes:
        retries: Further attempts by cause: ``infrastructure``, ``preemption``, ``out-of-memory``, ``exit-code``.
            Default: preemption 5, all others 0. A configuration error is never retried.
        retry_exit_codes: With an ``exit-code`` budget, the codes that may be retried. Empty: any non-zero one.
        retry_delay: Seconds before the first retry, doubled each time up to `retry_max_delay`. Default 5.
        retry_max_delay: Seconds. Default 300.
        queue_timeout: Seconds an item may wait in the queue. Default unlimited.
        start_timeout: Seconds from submission until the code runs. Default 1800.
        attempt_timeout: Seconds one attempt may run. Default unlimited.
        deadline: Seconds from submission to the end of the whole run, retries included. Default unlimited.
        stop_grace: Seconds between SIGTERM and SIGKILL. Default 10.
        idle_timeout: Seconds below `idle_cpu` after which the run is stopped. Default unlimited.
        idle_cpu: Share of one core (0..1) below which a run counts as idle, the busy time of its GPUs counted in.
            Default 0.01.
    """

    retries: dict[str, int] = field(factory=dict)
    retry_exit_codes: tuple[int, ...] = ()
    retry_delay: float | None = None
    retry_max_delay: float | None = None
    queue_timeout: float | None = None
    start_timeout: float | None = None
    attempt_timeout: float | None = None
    deadline: float | None = None
    stop_grace: float | None = None
    idle_timeout: float | None = None
    idle_cpu: float | None = None


@frozen(kw_only=True)
class LaunchSpec:
    """A launch request as it lies in the queue. Holds no secret.

    Attributes:
        source: The code, copied from the job when the item is submitted, so that a later job version changes nothing.
        job: Artifact path ``entity/project/name:v<N>`` of the job, or empty for a bare image.
        entry_point: Replaces the job's entry point when not empty.
        args: Further arguments, put behind the entry point.
        run_config: Values laid over the run's config.
        files: Values laid over configuration files, ``{path: {key: value}}``.
        env: Further environment variables, as far as the queue allows them.
        resource: Resource type, the name of a runner plugin. Empty: the queue's.
        resource_args: What the submitter wants in the resource's own words, as far as the queue allows.
        template_values: Values of the queue's template variables.
        dockerfile: Replaces the job's Dockerfile when not empty.
        build_context: Replaces the job's build context when not empty.
        base_image: Replaces the base image when not empty.
        requirements: The job's frozen dependencies, for a generated image whose source names none.
        policy: Wishes within the queue's bounds.
        depends_on: Ids of runs that must finish first.
        secrets: References of secret variables (``{NAME: env/NAME}``), as far as the queue allows them.
    """

    source: JobSource
    job: str = ""
    entry_point: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    run_config: dict[str, JSON] = field(factory=dict)
    files: dict[str, JSON] = field(factory=dict)
    env: dict[str, str] = field(factory=dict)
    resource: str = ""
    resource_args: dict[str, JSON] = field(factory=dict)
    template_values: dict[str, JSON] = field(factory=dict)
    dockerfile: str = ""
    build_context: str = ""
    base_image: str = ""
    requirements: tuple[str, ...] = ()
    policy: LaunchPolicy = LaunchPolicy()
    depends_on: tuple[str, ...] = ()
    secrets: dict[str, str] = field(factory=dict)
