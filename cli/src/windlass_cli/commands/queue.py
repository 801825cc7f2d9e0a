"""``windlass queue``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from windlass.models import MOST
from windlass_cli import shapes, waiting
from windlass_cli.options import entity_option, json_option
from windlass_cli.output import ago, facts, note, print_json, table, yaml_text
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group

if TYPE_CHECKING:
    from windlass.models.queue import Queue, TemplateVariable
    from windlass_cli.definition import Definition

_WAITING = 10
"""Waiting runs that are explained."""


@lazy_group("queue")
def queue() -> None:
    """Queues of launch requests."""


def _definition(command: Any) -> Any:
    """The options that define a queue."""
    for decorate in reversed(
        (
            click.option("-c", "--config", metavar="FILE", help="Resource config (YAML or JSON), with {{templates}}."),
            click.option("--templates", metavar="FILE", help="Template variables: name: {type, default, enum, …}."),
            click.option("--policy", metavar="FILE", help="Defaults for limits and retries."),
            click.option("--policy-max", metavar="FILE", help="The most a submitter may ask for."),
            click.option(
                "--open",
                "open_fields",
                multiple=True,
                metavar="PATH",
                help='Field submitters may set. May be repeated; "" is none.',
            ),
            click.option("--prioritized/--not-prioritized", default=None, help="Items may have a priority."),
            click.option("--fair-share/--no-fair-share", default=None, help="Submitters take turns."),
            click.option("--concurrency", type=click.IntRange(0, MOST), help="Runs at the same time; 0 is unlimited."),
            click.option("--per-user", type=click.IntRange(0, MOST), help="Runs of one author; 0 is unlimited."),
            click.option("--description", help="For people."),
        )
    ):
        command = decorate(command)
    return command


_parse = click.option("--parse", is_flag=True, help="List the {{template}} fields that are in the config.")


@click.command()
@click.argument("name")
@click.option("-r", "--resource", required=True, help="Runner that runs its items: process, docker …")
@_definition
@_parse
@entity_option
@json_option
@pass_state
def create(state: State, /, name: str, resource: str, entity: str, parse: bool, as_json: bool, **given: Any) -> None:
    """Create the queue NAME.

    Each {{field}} of its config must be declared in --templates. With --parse they are listed first, also when the
    queue then cannot be made.
    """
    from windlass.models.queue import Queue
    from windlass_cli.definition import define

    made = define(Queue(entity=entity or state.settings.entity, name=name, resource=resource), given)
    if parse:
        _list_fields(made.queue, as_json=as_json)
    _check(state, made)
    stored = state.store.queues.create(made.queue)
    if as_json and not parse:
        print_json(shapes.queue(stored))
    else:
        click.echo(f"Created queue {stored.name} ({stored.resource}).", err=parse)


@click.command()
@click.argument("name")
@_definition
@_parse
@entity_option
@json_option
@pass_state
def update(state: State, /, name: str, entity: str, parse: bool, as_json: bool, **given: Any) -> None:
    """Change the queue NAME: what is not given stays as it is.

    With --parse the {{fields}} of its config are listed: those of the new one, with --config. Alone, --parse changes
    nothing.
    """
    from windlass_cli.definition import define

    old = _get(state, name, entity)
    changed = define(old, given)
    if parse:
        _list_fields(changed.queue, as_json=as_json)
        if changed.queue == old and not changed.problems:
            return
    _check(state, changed)
    stored = state.store.queues.update(changed.queue)
    if as_json and not parse:
        print_json(shapes.queue(stored))
    else:
        click.echo(f"Updated queue {stored.name}.", err=parse)


def _check(state: State, wanted: Definition) -> None:
    from windlass.launch.definition import check_queue, definition_warnings

    check_queue(wanted.queue, state.app, wanted.sources, wanted.problems)
    for warning in definition_warnings(wanted.queue):
        note(f"warning: {warning}")


def _list_fields(queue: Queue, *, as_json: bool) -> None:
    from windlass.launch.templates import found_fields

    found = found_fields(queue.config, queue.templates)
    if as_json:
        print_json([shapes.template_field(field) for field in found])
        return
    table(
        ("field", "at", "declared", "type", "default", "bounds", "description"),
        [
            (f.name, ", ".join(f.paths) or "(nowhere)", "yes" if f.declared else "no",
             f.variable.type if f.declared else "", "" if f.variable.default is None else f.variable.default,
             _bounds(f.variable), f.variable.description)
            for f in found
        ],
        empty=f"The config of queue {queue.name} has no template fields.",
    )  # fmt: skip


def _bounds(variable: TemplateVariable) -> str:
    if variable.enum:
        return f"one of {', '.join(map(str, variable.enum))}"
    low, high = ("" if bound is None else f"{bound:g}" for bound in (variable.minimum, variable.maximum))
    return f"{low} to {high}".strip() if low or high else ""


@click.command()
@entity_option
@json_option
@pass_state
def list_(state: State, entity: str, as_json: bool) -> None:
    """List queues."""
    from windlass.launch.private import is_private
    from windlass.models.queue import QueueRef

    found = [q for q in state.store.queues.list(entity or state.settings.entity) if not is_private(q)]
    counts = [state.store.queues.status(QueueRef(entity=q.entity, name=q.name)) for q in found]
    if as_json:
        print_json([shapes.queue(q, status) for q, status in zip(found, counts, strict=True)])
        return
    table(
        ("name", "resource", "state", "queued", "pending", "running", "agents", "changed"),
        [
            (q.name, q.resource, _state(q), s.queued, s.pending, s.running, s.agents, ago(q.updated_at))
            for q, s in zip(found, counts, strict=True)
        ],
        empty="There are no queues. Create one with: windlass queue create NAME --resource process",
    )


def _set(values: dict[str, Any]) -> dict[str, Any]:
    whole = {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in values.items()}
    return {key: value for key, value in whole.items() if value not in (None, "", [], ())}


def _state(queue: Queue) -> str:
    return "paused" if queue.paused else "open"


@click.command()
@click.argument("name")
@entity_option
@json_option
@pass_state
def show(state: State, name: str, entity: str, as_json: bool) -> None:
    """Show the queue NAME and how full it is."""
    from windlass.models.queue import QueueRef

    found = _get(state, name, entity)
    shape = shapes.queue(found, state.store.queues.status(QueueRef(entity=found.entity, name=found.name)))
    shape["waiting"] = _waiting(state, found)
    if as_json:
        print_json(shape)
        return
    status = shape.pop("status")
    shape["waiting"] = "\n".join(
        f"{run['id']}: {'; '.join(reason['message'] for reason in run['reasons'])}" for run in shape["waiting"]
    )
    shape["state"] = _state(found)
    del shape["paused"]
    shape["items"] = f"{status['queued']} queued, {status['pending']} pending, {status['running']} running"
    shape["agents"] = status["agents"]
    shape["templates"] = {name: _set(variable) for name, variable in shape["templates"].items()}
    for key in ("config", "prices", "templates", "policy", "policy_max", "limits"):
        values = {k: v for k, v in (shape[key] or {}).items() if v is not None}
        shape[key] = yaml_text(values)
    shape["open_fields"] = ", ".join(shape["open_fields"])
    shape["prioritized"] = "yes" if shape["prioritized"] else ""
    shape["fair_share"] = "yes" if shape["fair_share"] else ""
    facts(shape)


def _waiting(state: State, queue: Queue) -> list[dict[str, Any]]:
    """Why the first of the waiting runs are not running yet."""
    from windlass.models.run import RunFilter, RunState

    found = state.store.runs.list(
        RunFilter(entity=queue.entity, queue=queue.name, states=(RunState.QUEUED,), limit=1000)
    )
    first = [(run.id, state.store.queues.explain(run.id)) for run in found[-_WAITING:]]
    first.sort(key=lambda pair: pair[1].position or 10**9)
    return [{"id": run_id, **(waiting.shape(why) or {})} for run_id, why in first]


@click.command()
@click.argument("name")
@entity_option
@pass_state
def pause(state: State, name: str, entity: str) -> None:
    """Let agents take nothing from the queue NAME; what runs goes on."""
    _set_paused(state, name, entity, paused=True)


@click.command()
@click.argument("name")
@entity_option
@pass_state
def resume(state: State, name: str, entity: str) -> None:
    """Let agents take from the queue NAME again."""
    _set_paused(state, name, entity, paused=False)


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Kill the items that wait in it.")
@entity_option
@pass_state
def delete(state: State, name: str, force: bool, entity: str) -> None:
    """Delete the queue NAME."""
    from windlass.models.queue import QueueRef

    state.store.queues.delete(QueueRef(entity=entity or state.settings.entity, name=name), force)
    note(f"Deleted queue {name}.")


def _get(state: State, name: str, entity: str) -> Queue:
    from windlass.models.queue import QueueRef

    return state.store.queues.get(QueueRef(entity=entity or state.settings.entity, name=name))


def _set_paused(state: State, name: str, entity: str, *, paused: bool) -> None:
    from attrs import evolve

    found = _get(state, name, entity)
    if found.paused != paused:
        state.store.queues.update(evolve(found, paused=paused))
    note(f"Queue {name} is {'paused' if paused else 'open'}.")
