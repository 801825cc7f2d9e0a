"""Whether a queue's definition is right: for the command line, for `windlass.Api`, and for every metadata store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from windlass.config.converter import structure
from windlass.config.document import Document
from windlass.errors import ConfigError, Problem, counted
from windlass.launch import templates
from windlass.launch.checks import open_field_problems, secret_problems
from windlass.launch.macros import unknown_macros
from windlass.launch.needs import SLOTS_KEY, check_needs
from windlass.launch.plan import BUILDER_KEY, check_builder, queue_config, resource_name
from windlass.launch.policy import check_policy
from windlass.launch.private import is_private
from windlass.launch.secret_env import take_secrets
from windlass.models import MOST
from windlass.models.queue import Queue
from windlass.schedule.costs import check_prices

if TYPE_CHECKING:
    from windlass.plugins.app import App

__all__ = ["check_definition", "check_queue", "definition_problems", "definition_warnings"]

_SECRETS_HINT = "secrets stand under secrets, or in env: [{NAME: {secret: env/NAME}}]"


def definition_problems(queue: Queue) -> list[Problem]:
    """What is wrong with a queue, as far as that can be told without its runner."""
    config = queue_config(queue)
    problems: list[Problem] = []
    try:
        plain, _ = take_secrets(config)
    except ConfigError as error:
        plain, problems = config, list(error.problems) or [Problem(error.message, where=error.where, hint=error.hint)]
    return [
        *problems,
        *templates.undeclared(queue.config, queue.templates),
        *templates.check_templates(queue.templates),
        *unknown_macros(queue.config),
        *open_field_problems(queue.open_fields),
        *secret_problems(plain, "$", hint=_SECRETS_HINT),
        *check_policy(queue.policy),
        *(check_policy(queue.policy_max, "$.policy_max") if queue.policy_max is not None else ()),
        *check_builder(queue),
        *check_needs(queue),
        *_limit_problems(queue),
        *(check_prices(queue) if queue.prices else ()),
    ]


def definition_warnings(queue: Queue) -> list[str]:
    """What is probably not meant, as sentences."""
    return [
        f"the template variable '{name}' is declared, and the config has no field {{{{{name}}}}}"
        + (f" (did you mean '{near}'?)" if near else "")
        for name, near in templates.unused(queue.config, queue.templates).items()
    ]


def check_definition(queue: Queue, old: Queue | None = None) -> None:
    """Raise `ConfigError` with everything that is wrong with a queue, its runner's words apart. For stores.

    Args:
        queue: The queue that is to be stored.
            One that was made for a single launch is right by the way it was made.
        old: The queue as it stands. Problems that it has, too, keep nobody from changing something else.
    """
    if is_private(queue):
        return
    known = {str(problem) for problem in definition_problems(old)} if old is not None else set()
    _raise(queue, [problem for problem in definition_problems(queue) if str(problem) not in known])


def check_queue(
    queue: Queue, app: App, sources: Mapping[str, Document] | None = None, known: Sequence[Problem] = ()
) -> None:
    """Raise `ConfigError` with everything that is wrong with a queue, its runner's words included.

    Args:
        queue: The queue that is to be stored.
        app: Plugins.
        sources: Files that ``config``, ``templates``, ``policy`` and ``policy_max`` were read from, for ``file:line``.
        known: Problems of these files that were found already; they are said with the others.
    """
    sources = sources or {}
    document = sources.get("config") or Document(data=queue.config)
    problems = [*definition_problems(queue), *_resource_problems(queue, app, document)]
    found = [Problem(p.message, where=_place(p.where, document, sources), hint=p.hint) for p in problems]
    _raise(queue, [*known, *found])


def _raise(queue: Queue, problems: list[Problem]) -> None:
    problems = list({str(problem): problem for problem in problems}.values())
    if problems:
        raise ConfigError(
            f"the queue has {counted(problems)}; nothing was changed", where=queue.name, problems=problems
        )


def _place(where: str, document: Document, sources: Mapping[str, Document]) -> str:
    for part in ("templates", "policy_max", "policy"):
        if part in sources and where.startswith(f"$.{part}."):
            return sources[part].place(f"$.{where.removeprefix(f'$.{part}.')}")
    return document.place(where) if document.source and where in document.lines else where


def _limit_problems(queue: Queue) -> list[Problem]:
    return [
        Problem(
            f"expected a number from 1 to {MOST}, got {value!r}", where=f"$.limits.{name}", hint="null is unlimited"
        )
        for name, value in attrs.asdict(queue.limits).items()
        if value is not None and (isinstance(value, bool) or not 1 <= value <= MOST)
    ]


def _resource_problems(queue: Queue, app: App, document: Document) -> list[Problem]:
    """What the runner says about the config, fields with templates apart: their values come later."""
    runner = app.runners.get(resource_name(queue.resource))
    if runner.resource_args is None:
        return []
    config = queue_config(queue)
    prefix = "$" if config == queue.config else f"$.{next(iter(queue.config), '')}"
    config, _ = take_secrets(config)
    for key in (BUILDER_KEY, SLOTS_KEY):  # for builder and agent, not for the resource
        config.pop(key, None)
    try:
        structure(_without_templates(config), runner.resource_args, where=prefix, document=document)
    except ConfigError as error:
        return list(error.problems)
    return []


def _without_templates(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_templates(value) for key, value in node.items() if not _is_template(value)}
    if isinstance(node, list):
        return [_without_templates(value) for value in node if not _is_template(value)]
    return node


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value
