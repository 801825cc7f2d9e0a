"""Triggers: whether they fit, what they wait for, and the request an event makes."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from fnmatch import fnmatchcase
from typing import Any

from attrs import evolve

from windlass.artifacts.names import CODE_TYPES
from windlass.errors import UsageError
from windlass.models import INTERNAL, TRIGGER, TRIGGER_CHAIN, noted
from windlass.models.artifact import ArtifactVersion
from windlass.models.queue import NewItem
from windlass.models.schedule import Occurrence, Trigger, TriggerEvent
from windlass.schedule.cron import parse_cron, zone

__all__ = ["NAME", "alias_moved", "chain_of", "check_trigger", "cron_due", "new_version", "next_due", "request",
           "run_id_of", "with_chain"]  # fmt: skip

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BYWORK = ("job", *CODE_TYPES)  # what nearly every run leaves: who waits for it says so
_WORDS = ("artifact", "version", "alias", "scheduled_at")
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def check_trigger(trigger: Trigger) -> None:
    """Raise `UsageError` unless a trigger makes sense."""
    if not NAME.fullmatch(trigger.name):
        raise UsageError(f"{trigger.name!r} cannot be a trigger's name", hint="1 to 64 letters, digits, '_', '.', '-'.")
    if not 0 <= trigger.priority <= 3:
        raise UsageError(f"{trigger.priority} is no priority", hint="0 (critical) to 3 (low).")
    zone(trigger.timezone)
    if trigger.event is TriggerEvent.CRON:
        parse_cron(trigger.cron)
    if trigger.spec.depends_on:
        raise UsageError("what a trigger starts cannot wait for other runs", where="depends_on", hint="Leave it out.")
    known = {TriggerEvent.CRON: {"scheduled_at"}, TriggerEvent.VERSION: {"artifact", "version"}}.get(
        trigger.event, {"artifact", "version", "alias"}
    )
    spec = trigger.spec
    for where, node in (("name", trigger.run_name), ("run_config", spec.run_config), ("args", list(spec.args))):
        for word in sorted(_places(node)):
            if word in _WORDS and word not in known:
                raise UsageError(
                    f"{{{{{word}}}}} means nothing to a trigger on {trigger.event}",
                    where=where,
                    hint=f"There: {', '.join(sorted(known))}.",
                )


def _places(node: Any) -> set[str]:
    if isinstance(node, str):
        return set(_PLACE.findall(node))
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return {word for child in children for word in _places(child)}


def next_due(trigger: Trigger, now: float) -> float:
    """When a cron trigger is due after `now`; 0.0 for others and for paused ones."""
    if trigger.event is not TriggerEvent.CRON or trigger.paused:
        return 0.0
    return parse_cron(trigger.cron).after(now, zone(trigger.timezone))


def cron_due(trigger: Trigger) -> Occurrence:
    """The event of the time a cron trigger was due at."""
    at = dt.datetime.fromtimestamp(trigger.next_at, dt.UTC).isoformat().replace("+00:00", "Z")
    return Occurrence(key=f"at/{at}", values={"scheduled_at": at})


def new_version(trigger: Trigger, version: ArtifactVersion, chain: tuple[str, ...]) -> Occurrence | None:
    """The event of a version that was made just now, if the trigger waits for it; see `chain_of` for `chain`."""
    if trigger.event is not TriggerEvent.VERSION or not _matches(trigger, version, chain):
        return None
    return Occurrence(key=f"version/{version.id}", values=_values(version), chain=chain)


def alias_moved(
    trigger: Trigger, version: ArtifactVersion, chain: tuple[str, ...], alias: str, move: str
) -> Occurrence | None:
    """The event of an alias that points at another version now; `move` tells this move from others."""
    if trigger.event is not TriggerEvent.ALIAS or not _matches(trigger, version, chain):
        return None
    if trigger.alias and not fnmatchcase(alias, trigger.alias):
        return None
    return Occurrence(key=f"alias/{move}/{alias}", values={**_values(version), "alias": alias}, chain=chain)


def _matches(trigger: Trigger, version: ArtifactVersion, chain: tuple[str, ...]) -> bool:
    return (
        not trigger.paused
        and chain[-1:] != (_id(trigger),)
        and trigger.entity == version.entity
        and trigger.artifact_project in ("", version.project)
        and trigger.artifact_type in ("", version.type)
        and bool(trigger.artifact_type or trigger.artifact_name or version.type not in _BYWORK)
        and (not trigger.artifact_name or fnmatchcase(version.name, trigger.artifact_name))
    )


def _values(version: ArtifactVersion) -> dict[str, Any]:
    path = f"{version.entity}/{version.project}/{version.name}:v{version.version}"
    return {"artifact": path, "version": f"v{version.version}"}


def chain_of(config: Any) -> tuple[str, ...]:
    """The triggers that led to a run with this config, as ``entity/name``, first ones first."""
    found = noted(config, TRIGGER_CHAIN)
    return tuple(map(str, found)) if isinstance(found, list) else ()


def with_chain(config: Any, **notes: Any) -> dict[str, Any]:
    """Notes for a run that follows from another one: what led to that has led to it."""
    chain = chain_of(config)
    return {**notes, **({TRIGGER_CHAIN: list(chain)} if chain else {})}


def _id(trigger: Trigger) -> str:
    return f"{trigger.entity}/{trigger.name}"


def run_id_of(trigger: Trigger, key: str) -> str:
    """The id of the run that an event makes: the same whenever it is asked for."""
    words = f"{trigger.entity}/{trigger.name}/{trigger.created_at!r}/{key}"
    return "t" + hashlib.sha256(words.encode()).hexdigest()[:15]


def request(trigger: Trigger, event: Occurrence) -> NewItem:
    """What is put on the queue for an event.

    Raises `UsageError` when the trigger has led to it: triggers that start each other would go on for ever.
    """
    if _id(trigger) in event.chain:
        raise UsageError(
            f"{event.values.get('artifact')} comes from a run that this trigger led to "
            f"({' → '.join(event.chain)}); it is not started again",
            hint="Say which artifacts are meant: --artifact, --artifact-project, --type.",
        )
    spec = evolve(
        trigger.spec,
        run_config=_filled(trigger.spec.run_config, event.values),
        args=tuple(_filled(list(trigger.spec.args), event.values)),
    )
    return NewItem(
        run_id=run_id_of(trigger, event.key),
        queue=trigger.queue,
        spec=spec,
        name=_filled(trigger.run_name, event.values) or trigger.name,
        project=trigger.project,
        entity=trigger.entity,
        author=trigger.author,
        priority=trigger.priority,
        config={**spec.run_config, INTERNAL: {TRIGGER: trigger.name, TRIGGER_CHAIN: [*event.chain, _id(trigger)]}},
    )


def _filled(node: Any, values: dict[str, Any]) -> Any:
    if isinstance(node, str):
        return _PLACE.sub(lambda match: str(values.get(match[1], match[0])), node)
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    return node
