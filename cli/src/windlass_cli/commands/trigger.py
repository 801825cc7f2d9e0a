"""``windlass trigger``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from windlass_cli.commands.launch import PRIORITIES
from windlass_cli.options import entity_option, json_option
from windlass_cli.output import ago, facts, iso, note, print_json, table, yaml_text
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group

if TYPE_CHECKING:
    from windlass.models.schedule import Trigger


@lazy_group("trigger")
def trigger() -> None:
    """Triggers: put a job on a queue when an artifact changes, or by the clock."""


@click.command()
@click.argument("name")
@click.option("--on-version", is_flag=True, help="When a collection gets a version.")
@click.option("--on-alias", default="", metavar="ALIAS", help="When this alias (* and ? allowed) is moved.")
@click.option("--cron", default="", metavar="EXPRESSION", help='E.g. "30 2 * * mon-fri" or @daily.')
@click.option("--timezone", default="UTC", show_default=True, help="In which --cron is read.")
@click.option("--artifact", default="", metavar="NAME", help="Only artifacts of this name (* and ? allowed).")
@click.option("--type", "artifact_type", default="", help="Only artifacts of this type.")
@click.option("--artifact-project", default="", help="Only artifacts of this project.")
@click.option("-q", "--queue", required=True, help="[entity/]queue.")
@click.option("-j", "--job", default="", help="Job: [[entity/]project/]name[:alias].")
@click.option("-u", "--uri", default="", help="Directory, script or git URI with the code.")
@click.option("-d", "--docker-image", "image", default="", help="Container image.")
@click.option("-E", "--entry-point", default="", metavar="COMMAND", help='E.g. "python train.py".')
@click.option("-p", "--project", default="", help="Name space of the runs.")
@click.option("--name", "run_name", default="", help="Display name of the runs.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help='Run config, e.g. data="{{artifact}}".')
@click.option("-v", "--set-var", "template_values", multiple=True, metavar="VAR=VALUE", help="Template variable.")
@click.option("-R", "--resource-args", default="", metavar="JSON|FILE", help="In the resource's own words.")
@click.option("-P", "--priority", type=click.Choice(PRIORITIES), default=None, help="On a queue with priorities.")
@entity_option
@json_option
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@pass_state
def create(
    state: State, /, name: str, on_version: bool, on_alias: str, cron: str, timezone: str, artifact: str,
    artifact_type: str, artifact_project: str, sets: tuple[str, ...], run_name: str, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Create the trigger NAME: one run for each event, however many agents there are.

    In --set, --name and arguments, {{artifact}}, {{version}}, {{alias}} and {{scheduled_at}} stand for what happened.
    """
    from windlass.errors import UsageError
    from windlass.launch.request import LaunchRequest
    from windlass.launch.triggering import create_trigger
    from windlass.models.schedule import TriggerEvent

    chosen = [event for event, on in zip(TriggerEvent, (on_version, on_alias, cron), strict=True) if on]
    if len(chosen) != 1:
        raise UsageError(
            "name one event", where="trigger create", hint="--on-version, --on-alias ALIAS or --cron EXPRESSION"
        )
    made = create_trigger(
        LaunchRequest(set=sets, name=run_name, **given), app=state.app, store=state.store, engine=state.engine,
        name=name, event=chosen[0], artifact_name=artifact, artifact_type=artifact_type,
        artifact_project=artifact_project, alias=on_alias, cron=cron, timezone=timezone,
    )  # fmt: skip
    if as_json:
        print_json(_shape(made))
    else:
        note(f"Created trigger {made.name}." + (f" Next: {iso(made.next_at)}." if made.next_at else ""))


def _shape(value: Trigger) -> dict[str, Any]:
    from windlass import wire
    from windlass.models.launch import Priority

    return {
        "name": value.name,
        "entity": value.entity,
        "event": value.event.value,
        "artifact": value.artifact_name,
        "artifact_type": value.artifact_type,
        "artifact_project": value.artifact_project,
        "alias": value.alias,
        "cron": value.cron,
        "timezone": value.timezone,
        "queue": f"{value.queue.entity}/{value.queue.name}",
        "job": value.spec.job,
        "run_config": value.spec.run_config,
        "template_values": dict(value.spec.template_values),
        "args": list(value.spec.args),
        "source": {k: v for k, v in wire.to_plain(value.spec.source).items() if v},
        "run_name": value.run_name,
        "project": value.project,
        "author": value.author,
        "priority": Priority(value.priority).name.lower(),
        "paused": value.paused,
        "fired": value.fired,
        "last_run": value.last_run,
        "error": value.error,
        "next_at": iso(value.next_at),
        "last_at": iso(value.last_at),
        "created_at": iso(value.created_at),
    }


@click.command()
@entity_option
@json_option
@pass_state
def list_(state: State, entity: str, as_json: bool) -> None:
    """List triggers."""
    found = state.store.schedule.triggers(entity or state.settings.entity)
    if as_json:
        print_json([_shape(item) for item in found])
        return
    table(
        ("name", "event", "on", "queue", "runs", "last", "next", "state"),
        [
            (t.name, t.event, t.cron or f"{t.artifact_name or '*'}{':' + t.alias if t.alias else ''}", t.queue.name,
             t.fired, ago(t.last_at), iso(t.next_at) or "-", "paused" if t.paused else "problem" if t.error else "ok")
            for t in found
        ],
        empty="There are no triggers. Make one with: windlass trigger create NAME --cron @daily -q QUEUE -j JOB",
    )  # fmt: skip


@click.command()
@click.argument("name")
@entity_option
@json_option
@pass_state
def show(state: State, name: str, entity: str, as_json: bool) -> None:
    """Show the trigger NAME."""
    shape = _shape(state.store.schedule.get_trigger(entity or state.settings.entity, name))
    if as_json:
        print_json(shape)
        return
    for key in ("run_config", "template_values", "source"):
        shape[key] = yaml_text(shape[key])
    facts(shape | {"paused": "yes" if shape["paused"] else "", "args": " ".join(shape["args"])})


@click.command()
@click.argument("name")
@entity_option
@pass_state
def pause(state: State, name: str, entity: str) -> None:
    """Let the trigger NAME start nothing; what happens meanwhile is not made up for."""
    state.store.schedule.pause_trigger(entity or state.settings.entity, name, True)
    note(f"Trigger {name} is paused.")


@click.command()
@click.argument("name")
@entity_option
@pass_state
def resume(state: State, name: str, entity: str) -> None:
    """Let the trigger NAME go on from now."""
    found = state.store.schedule.pause_trigger(entity or state.settings.entity, name, False)
    note(f"Trigger {name} goes on." + (f" Next: {iso(found.next_at)}." if found.next_at else ""))


@click.command()
@click.argument("name")
@entity_option
@pass_state
def delete(state: State, name: str, entity: str) -> None:
    """Delete the trigger NAME; runs it has started stay."""
    state.store.schedule.delete_trigger(entity or state.settings.entity, name)
    note(f"Deleted trigger {name}.")
