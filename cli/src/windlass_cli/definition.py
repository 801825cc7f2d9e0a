"""From the options of ``windlass queue create`` to a checked queue."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from windlass.config.converter import structure
from windlass.config.document import Document, load
from windlass.errors import ConfigError, Problem
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue, QueueLimits, TemplateVariable
from windlass.plugins.app import App

__all__ = ["check_queue", "define"]


def define(queue: Queue, given: dict[str, Any]) -> tuple[Queue, Document]:
    """The queue with the given options, and the config's document for messages. Raises `ConfigError`."""
    changes: dict[str, Any] = {
        key: given[key] for key in ("prioritized", "fair_share", "description") if given.get(key) is not None
    }
    document = Document(data=queue.config)
    if given.get("config"):
        document = _mapping(given["config"])
        changes["config"] = document.data
    if given.get("templates"):
        changes["templates"] = _templates(_mapping(given["templates"]))
    for key in ("policy", "policy_max"):
        if given.get(key):
            source = _mapping(given[key])
            changes[key] = structure(source.data, LaunchPolicy, document=source)
    if given.get("open_fields"):
        changes["open_fields"] = tuple(given["open_fields"])
    limits = {field: given[field] or None for field in ("concurrency", "per_user") if given.get(field) is not None}
    if limits:
        changes["limits"] = evolve(queue.limits or QueueLimits(), **limits)
    return evolve(queue, **changes), document


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
        try:
            found[name] = structure(value, TemplateVariable, where=where, document=document)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError("the template variables do not fit", where=document.source, problems=problems)
    return found


def check_queue(queue: Queue, app: App, document: Document) -> None:
    """Raise `ConfigError` with everything that is wrong with a queue's definition."""
    from windlass.launch.checks import open_field_problems, secret_problems
    from windlass.launch.plan import queue_config
    from windlass.launch.policy import check_policy
    from windlass.launch.secret_env import take_secrets
    from windlass.launch.templates import check_templates

    config, _ = take_secrets(queue_config(queue))
    problems = [
        *check_templates(queue_config(queue), queue.templates),
        *open_field_problems(queue.open_fields),
        *secret_problems(config, "$", hint="secrets stand under secrets, or in env: [{NAME: {secret: env/NAME}}]"),
        *check_policy(queue.policy),
        *(check_policy(queue.policy_max, "$.policy_max") if queue.policy_max is not None else ()),
        *_resource_problems(queue, app, document),
    ]
    if problems:
        placed = [Problem(p.message, where=_place(p.where, document), hint=p.hint) for p in problems]
        count = "1 problem" if len(placed) == 1 else f"{len(placed)} problems"
        raise ConfigError(f"the queue has {count}; nothing was changed", where=queue.name, problems=placed)


def _place(where: str, document: Document) -> str:
    return document.place(where) if document.source and where in document.lines else where


def _resource_problems(queue: Queue, app: App, document: Document) -> list[Problem]:
    """What the runner says about the config, fields with templates apart: their values come later."""
    from windlass.launch.needs import SLOTS_KEY, check_needs
    from windlass.launch.plan import BUILDER_KEY, check_builder, queue_config, resource_name
    from windlass.launch.secret_env import take_secrets

    runner = app.runners.get(resource_name(queue.resource))
    problems = [*check_builder(queue), *check_needs(queue)]
    if runner.resource_args is None:
        return problems
    config = queue_config(queue)
    prefix = "$" if config == queue.config else f"$.{next(iter(queue.config), '')}"
    config, _ = take_secrets(config)
    for key in (BUILDER_KEY, SLOTS_KEY):  # for builder and agent, not for the resource
        config.pop(key, None)
    try:
        structure(_without_templates(config), runner.resource_args, where=prefix, document=document)
    except ConfigError as error:
        problems += error.problems
    return problems


def _without_templates(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_templates(value) for key, value in node.items() if not _is_template(value)}
    if isinstance(node, list):
        return [_without_templates(value) for value in node if not _is_template(value)]
    return node


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value
