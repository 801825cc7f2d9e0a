"""From the options of ``windlass queue create`` to a checked queue."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from windlass.config.converter import structure
from windlass.config.document import Document, load
from windlass.errors import ConfigError, Problem
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue, QueueLimits, TemplateVariable

__all__ = ["define"]


def define(queue: Queue, given: dict[str, Any]) -> tuple[Queue, dict[str, Document]]:
    """The queue with the given options, and the files they were read from by field. Raises `ConfigError`."""
    changes: dict[str, Any] = {
        key: given[key] for key in ("prioritized", "fair_share", "description") if given.get(key) is not None
    }
    sources = {key: _mapping(given[key]) for key in ("config", "templates", "policy", "policy_max") if given.get(key)}
    for key, source in sources.items():
        if key == "config":
            changes[key] = source.data
        elif key == "templates":
            changes[key] = _templates(source)
        else:
            changes[key] = structure(source.data, LaunchPolicy, document=source)
    if given.get("open_fields"):
        changes["open_fields"] = () if set(given["open_fields"]) == {""} else tuple(given["open_fields"])
    limits = {field: given[field] or None for field in ("concurrency", "per_user") if given.get(field) is not None}
    if limits:
        changes["limits"] = evolve(queue.limits or QueueLimits(), **limits)
    return evolve(queue, **changes), sources


def _mapping(path: str) -> Document:
    document = load(path)
    if not isinstance(document.data, dict):
        raise ConfigError("expected a mapping", where=f"{path}:1", hint="Write `key: value` lines.")
    return document


def _templates(document: Document) -> dict[str, TemplateVariable]:
    found: dict[str, TemplateVariable] = {}
    problems: list[Problem] = []
    for name, value in document.data.items():
        where = f"$.{name}"
        if not isinstance(value, dict):
            problems.append(
                Problem(
                    "expected a mapping", where=document.place(where), hint=f"{name}: {{type: integer, default: 1}}"
                )
            )
            continue
        if value.get("enum") == []:  # behind here an empty enum cannot be told from none, which allows any value
            place = document.place(f"{where}.enum")
            problems.append(Problem("no value would be allowed", where=place, hint="list values, or leave enum out"))
        try:
            found[name] = structure(value, TemplateVariable, where=where, document=document)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError("the template variables do not fit", where=document.source, problems=problems)
    return found
