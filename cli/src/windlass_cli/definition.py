"""From the options of ``windlass queue create`` to a checked queue."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen

from windlass.config.converter import structure_most
from windlass.config.document import Document, load
from windlass.errors import ConfigError, Problem
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue, QueueLimits, TemplateVariable

__all__ = ["Definition", "define"]


@frozen(kw_only=True)
class Definition:
    """A queue as it was asked for.

    Attributes:
        queue: With what fits of the given options.
        sources: The files they were read from, by field.
        problems: What does not fit.
    """

    queue: Queue
    sources: dict[str, Document]
    problems: list[Problem]


def define(queue: Queue, given: dict[str, Any]) -> Definition:
    """Lay the given options over a queue. Raises `ConfigError` for files that cannot be read; all of them."""
    changes: dict[str, Any] = {
        key: given[key] for key in ("prioritized", "fair_share", "description") if given.get(key) is not None
    }
    sources: dict[str, Document] = {}
    errors: list[ConfigError] = []
    for key in ("config", "templates", "policy", "policy_max"):
        if given.get(key):
            try:
                sources[key] = _mapping(given[key])
            except ConfigError as error:
                errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    problems = [p for e in errors for p in e.problems or [Problem(e.message, where=e.where, hint=e.hint)]]
    if problems:
        raise ConfigError("the queue's files cannot be read; nothing was changed", where=queue.name, problems=problems)
    for key, source in sources.items():
        if key == "config":
            changes[key] = source.data
            continue
        found, wrong = _templates(source) if key == "templates" else _policy(source)
        changes[key] = found
        problems += wrong
    if given.get("open_fields"):
        changes["open_fields"] = () if set(given["open_fields"]) == {""} else tuple(given["open_fields"])
    limits = {field: given[field] or None for field in ("concurrency", "per_user") if given.get(field) is not None}
    if limits:
        changes["limits"] = evolve(queue.limits or QueueLimits(), **limits)
    return Definition(queue=evolve(queue, **changes), sources=sources, problems=problems)


def _policy(document: Document) -> tuple[LaunchPolicy, list[Problem]]:
    found, problems = structure_most(document.data, LaunchPolicy, document=document)
    return found or LaunchPolicy(), problems


def _mapping(path: str) -> Document:
    document = load(path)
    if not isinstance(document.data, dict):
        raise ConfigError("expected a mapping", where=f"{path}:1", hint="Write `key: value` lines.")
    return document


def _templates(document: Document) -> tuple[dict[str, TemplateVariable], list[Problem]]:
    found: dict[str, TemplateVariable] = {}
    problems: list[Problem] = []
    for name, value in document.data.items():
        where = f"$.{name}"
        found[name] = TemplateVariable()
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
        variable, wrong = structure_most(value, TemplateVariable, where=where, document=document)
        problems += wrong
        if variable is not None and isinstance(value.get("type", ""), str):  # else what bounds it means is not known
            found[name] = variable
    return found, problems
