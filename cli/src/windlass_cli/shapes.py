"""The JSON of ``--json``, in one place: stable names, times in ISO 8601 (UTC), a list is an array.

Keys are added, never renamed or removed within a major version. `json_shapes` says what they mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windlass import wire
from windlass.models import INTERNAL, RETRY_OF, TRIGGER, noted
from windlass_cli.output import iso

if TYPE_CHECKING:  # a command builds the classes of what it shows, and no others
    from windlass.launch.templates import TemplateField
    from windlass.models.artifact import ArtifactVersion, LineageEdge
    from windlass.models.launch import LaunchPolicy
    from windlass.models.queue import Agent, Queue, QueueStatus
    from windlass.models.run import Run
    from windlass.plugins.types import PluginInfo

__all__ = ["agent", "artifact", "edge", "plugin", "queue", "run", "template_field"]


def run(value: Run) -> dict[str, Any]:
    """A run. `duration` is in seconds, from its start to its end or to now if it is not over."""
    from windlass.models.launch import Priority

    return {
        "id": value.id,
        "name": value.name,
        "state": value.state.value,
        "phase": value.phase.value,
        "reason": wire.to_plain(value.reason),
        "entity": value.entity,
        "project": value.project,
        "job": value.job,
        "queue": value.queue,
        "author": value.author,
        "trigger": noted(value.config, TRIGGER) or "",
        "retry_of": noted(value.config, RETRY_OF) or "",
        "priority": Priority(value.priority).name.lower(),
        "resource": value.resource,
        "attempt": value.attempt,
        "agent": value.agent,
        "host": value.host,
        "image": value.image,
        "exit_code": value.exit_code,
        "config": {key: item for key, item in value.config.items() if key != INTERNAL},
        "metadata": value.config.get(INTERNAL) or {},
        "summary": {key: item for key, item in value.summary.items() if not key.startswith("_")},
        "tags": list(value.tags),
        "notes": value.notes,
        "group": value.group,
        "job_type": value.job_type,
        "timings": value.timings,
        "usage": wire.to_plain(value.usage),
        "cost": value.cost,
        "stop_requested": value.stop_requested,
        "created_at": iso(value.created_at),
        "queued_at": iso(value.queued_at),
        "claimed_at": iso(value.claimed_at),
        "started_at": iso(value.started_at),
        "finished_at": iso(value.finished_at),
        "duration": duration(value),
    }


def duration(value: Run) -> float | None:
    """Seconds from start to end, None when either is missing."""
    if not value.started_at or not value.finished_at:
        return None
    return round(value.finished_at - value.started_at, 3)


def queue(value: Queue, status: QueueStatus | None = None) -> dict[str, Any]:
    """A queue; `status` counts its items when it was asked for."""
    shape: dict[str, Any] = {
        "name": value.name,
        "entity": value.entity,
        "resource": value.resource,
        "config": value.config,
        "templates": {name: wire.to_plain(item) for name, item in value.templates.items()},
        "open_fields": list(value.open_fields),
        "prioritized": value.prioritized,
        "fair_share": value.fair_share,
        "paused": value.paused,
        "limits": wire.to_plain(value.limits),
        "policy": policy(value.policy),
        "policy_max": policy(value.policy_max),
        "prices": value.prices,
        "description": value.description,
        "created_at": iso(value.created_at),
        "updated_at": iso(value.updated_at),
    }
    if status is not None:
        shape["status"] = wire.to_plain(status)
    return shape


def template_field(value: TemplateField) -> dict[str, Any]:
    """A ``{{field}}`` of a queue's config. `type` is null where nothing is declared."""
    return {
        "name": value.name,
        "paths": list(value.paths),
        "declared": value.declared,
        "required": value.variable.default is None,
        **wire.to_plain(value.variable),
        **({} if value.declared else {"type": None}),
    }


def policy(value: LaunchPolicy | None) -> dict[str, Any] | None:
    """The parts of a policy that are set."""
    if value is None:
        return None
    return {key: item for key, item in wire.to_plain(value).items() if item not in (None, {}, [], ())}


def size(count: int) -> int | None:
    """Bytes; null where they are not known."""
    return count if count >= 0 else None


def artifact(value: ArtifactVersion) -> dict[str, Any]:
    """An artifact version."""
    return {
        "name": value.name,
        "version": f"v{value.version}",
        "path": value.path,
        "entity": value.entity,
        "project": value.project,
        "type": value.type,
        "digest": value.digest,
        "aliases": list(value.aliases),
        "tags": list(value.tags),
        "size": size(value.size),
        "entries": value.entries,
        "description": value.description,
        "metadata": value.metadata,
        "ttl_seconds": value.ttl_seconds,
        "run": value.run,
        "id": value.id,
        "created_at": iso(value.created_at),
        "updated_at": iso(value.updated_at),
        "deleted_at": iso(value.deleted_at),
    }


def agent(value: Agent) -> dict[str, Any]:
    """An agent."""
    return {
        "id": value.id,
        "name": value.name,
        "entity": value.entity,
        "state": value.state,
        "queues": [f"{ref.entity}/{ref.name}" for ref in value.queues],
        "max_jobs": value.max_jobs,
        "runs": list(value.runs),
        "slots": value.slots,
        "drain_requested": value.drain_requested,
        "host": value.host,
        "pid": value.pid,
        "version": value.version,
        "created_at": iso(value.created_at),
        "heartbeat_at": iso(value.heartbeat_at),
    }


def edge(value: LineageEdge, path: str) -> dict[str, Any]:
    """A lineage edge to the version with this path."""
    return {
        "kind": value.kind.value,
        "run": value.run,
        "artifact": path,
        "collected": bool(value.collected),
        "version_id": value.version,
        "created_at": iso(value.created_at),
    }


def plugin(value: PluginInfo) -> dict[str, Any]:
    """An installed plugin."""
    return {
        "kind": value.kind,
        "name": value.name,
        "summary": value.summary,
        "distribution": value.distribution,
        "version": value.version,
        "target": value.target,
    }
