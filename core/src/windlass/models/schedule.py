"""What starts runs without anybody asking, and what they may cost."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from windlass.models import JSON
from windlass.models.launch import LaunchSpec
from windlass.models.queue import QueueRef


class TriggerEvent(StrEnum):
    """What a trigger waits for."""

    VERSION = "version"
    ALIAS = "alias"
    CRON = "cron"


@frozen(kw_only=True)
class Trigger:
    """Puts a request on a queue whenever something happens: exactly once for each event.

    What its own runs make is no event for it, and a trigger that led to a run over others is not started again by it:
    triggers that start each other come to an end.

    In `run_name` and in texts of `spec.run_config` and `spec.args` these are replaced: ``{{artifact}}``
    (``entity/project/name:v3``), ``{{version}}`` (``v3``), ``{{alias}}``, ``{{scheduled_at}}`` (ISO 8601, UTC).

    Attributes:
        entity, name: Together they identify it. Name: 1 to 64 characters of ``[A-Za-z0-9_.-]``.
        event: ``version``: a collection gets a version; ``alias``: an alias is moved to another version; ``cron``.
        queue: Where the request goes.
        spec: What is asked for.
        artifact_project, artifact_name, artifact_type, alias: Which artifacts of the entity. Empty: any, but without
            name and type no jobs and no code. Name and alias may hold ``*`` and ``?``.
        cron: Five fields, or ``@hourly`` and the like, see `windlass.schedule.cron`.
        timezone: IANA name in which `cron` is read.
        project, run_name, author, priority: Of the runs.
        paused: Events of this time are not made up for later.
        next_at: When a cron trigger is due next. Missed times are made up for by one run, not by many.
        fired: Runs so far.
        last_run, last_at: The newest one.
        error: Why the last event made no run; empty when it did.
    """

    entity: str
    name: str
    event: TriggerEvent
    queue: QueueRef
    spec: LaunchSpec
    artifact_project: str = ""
    artifact_name: str = ""
    artifact_type: str = ""
    alias: str = ""
    cron: str = ""
    timezone: str = "UTC"
    project: str = ""
    run_name: str = ""
    author: str = ""
    priority: int = 2
    paused: bool = False
    next_at: float = 0.0
    fired: int = 0
    last_run: str = ""
    last_at: float = 0.0
    error: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0


@frozen(kw_only=True)
class Occurrence:
    """One event of one trigger.

    Attributes:
        key: Tells the events of a trigger apart; the same event has the same key, however often it is seen.
        values: What the request's ``{{…}}`` stand for.
        chain: The triggers that led to the run which made it happen, ``entity/name``, first ones first.
    """

    key: str
    values: dict[str, JSON] = field(factory=dict)
    chain: tuple[str, ...] = ()


class BudgetUnit(StrEnum):
    """What a budget counts."""

    HOURS = "hours"
    MONEY = "money"


@frozen(kw_only=True)
class Budget:
    """What the runs of an entity, or of one user in it, may use in a calendar month (UTC).

    Above it no further item is started; runs at work go on. An attempt counts for each month with its part.

    Attributes:
        user: Author of the runs; empty: all of the entity together.
        unit: Hours of run time, or money by `Queue.prices`.
        limit: The most per month.
        used: What was used this month, runs at work included. Told by the store, not taken.
    """

    entity: str
    user: str = ""
    unit: BudgetUnit = BudgetUnit.HOURS
    limit: float = 0.0
    used: float = 0.0
