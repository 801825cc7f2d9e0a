"""``windlass launch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from windlass_cli import shapes
from windlass_cli.options import json_option
from windlass_cli.output import note, print_json, yaml_text
from windlass_cli.state import State, pass_state

if TYPE_CHECKING:
    from windlass.launch.request import LaunchRequest
    from windlass.launch.submit import ResolvedLaunch
    from windlass.models.run import Run

_LIKE = 200
"""Runs of a queue that are looked through for like ones."""
PRIORITIES = ("critical", "high", "medium", "low")


@click.command()
@click.option("-u", "--uri", default="", help="Directory, script or git URI with the code.")
@click.option("-d", "--docker-image", "image", default="", help="Container image to run as it is.")
@click.option("-j", "--job", default="", help="Job: [[entity/]project/]name[:alias].")
@click.option("--build-context", default="", metavar="DIR", help="Sub-directory that is the build context.")
@click.option("-D", "--dockerfile", default="", metavar="FILE", help="Relative to the build context.")
@click.option("-B", "--base-image", default="", metavar="IMAGE", help="Base of a generated Dockerfile.")
@click.option("-E", "--entry-point", default="", metavar="COMMAND", help='E.g. "python train.py".')
@click.option("-g", "--git-hash", default="", help="Branch, tag or commit of a git URI.")
@click.option("-J", "--job-name", default="", help="Name of the job that is made.")
@click.option("-e", "--entity", default="", help="Owner of the run.")
@click.option("-p", "--project", default="", help="Name space of the run.")
@click.option("--name", default="", help="Display name of the run.")
@click.option("-q", "--queue", default="", help="[entity/]queue. Without it the run is executed here and now.")
@click.option("-c", "--config", "overrides", default="", metavar="FILE", help="Overrides: YAML, JSON or JSON text.")
@click.option("-v", "--set-var", "template_values", multiple=True, metavar="VAR=VALUE", help="Template variable.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Value of the run config (trainer.lr=0.1).")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Environment variable, if the queue allows it.")
@click.option("-P", "--priority", type=click.Choice(PRIORITIES), default=None, help="On a queue with priorities.")
@click.option("-r", "--resource", default="", help="Runner: process, docker … Default: the queue's.")
@click.option("-R", "--resource-args", default="", metavar="JSON|FILE", help="In the resource's own words.")
@click.option("--after", "depends_on", multiple=True, metavar="RUN_ID", help="Start when that run has finished.")
@click.option("--wait/--no-wait", default=None, help="Wait for the end. Default: only without --queue.")
@click.option("--dry-run", is_flag=True, help="Show what would be launched, and where each value comes from.")
@json_option
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@pass_state
def launch(
    state: State, /, *, queue: str, wait: bool | None, dry_run: bool, as_json: bool, sets: tuple[str, ...],
    env: tuple[str, ...], **given: Any,
) -> int:  # fmt: skip
    """Run a script, directory, git URI, image or job: here and now, or on a queue.

    A script may be named without --uri, and carry its own settings in a "# /// script" comment:  windlass launch a.py

    Words after -- are given to the entry point:  windlass launch -u . -E "python train.py" -- --epochs 3
    """
    from windlass.errors import UsageError
    from windlass.launch.request import LaunchRequest
    from windlass.launch.script import with_script
    from windlass_cli.git_hosts import signed_in

    if given["args"] and not (given["uri"] or given["image"] or given["job"]):
        given["uri"], *rest = given["args"]
        given["args"] = tuple(rest)

    request = signed_in(with_script(LaunchRequest(queue=queue, set=sets, env=_pairs(env), **given)))
    queue = request.queue
    if not queue and wait is False:
        raise UsageError(
            "without a queue the run is executed here, by this command", where="--no-wait", hint="Give --queue."
        )
    said, chosen = "", not queue and not request.resource
    if not queue:
        request = _with_resource(state, request)
        said = f"No queue is given: running here, with the {request.resource} runner." if chosen else ""
    if dry_run:
        return _show_plan(state, request, {"resource": "default"} if chosen else {}, as_json=as_json)
    if not queue:
        from windlass_cli.here import run_here

        return _end(state, run_here(state, request, quiet=as_json, said=said), as_json=as_json)
    from windlass.launch.submit import submit

    run = submit(request, app=state.app, store=state.store, engine=state.engine)
    if not wait:
        if as_json:
            print_json(shapes.run(run))
        else:
            click.echo(f"Launched run {run.id} on queue {run.queue}.")
            note(f"  windlass run logs -f {run.id}")
        return 0
    from windlass_cli.here import watch

    note(f"Launched run {run.id} on queue {run.queue}; waiting for its end.")
    return _end(state, watch(state, run, quiet=as_json), as_json=as_json)


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    from windlass.errors import UsageError

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{text!r} is not of the form NAME=VALUE", where="--env", hint="e.g. --env SEED=1")
        found[name] = value
    return found


def _with_resource(state: State, request: LaunchRequest) -> LaunchRequest:
    """Where a run without a queue is executed: what was asked for, else docker if it is needed and there."""
    from attrs import evolve

    resource = request.resource
    if not resource:
        wants_image = bool(request.image or request.dockerfile or request.base_image) or _is_image_job(state, request)
        resource = "docker" if request.image or (wants_image and _engine_answers(state)) else "process"
    return evolve(request, resource=resource)


def _is_image_job(state: State, request: LaunchRequest) -> bool:
    if not request.job:
        return False
    from windlass.launch.jobs import load_job
    from windlass.models.job import SourceKind

    entity, project = request.entity or state.settings.entity, request.project or state.settings.project
    return (
        load_job(request.job, engine=state.engine, entity=entity, project=project).spec.source.kind is SourceKind.IMAGE
    )


def _engine_answers(state: State) -> bool:
    from windlass.errors import WindlassError

    try:
        runner = state.app.create_runner("docker")
        try:
            runner.check()
        finally:
            runner.close()
    except WindlassError:
        return False
    return True


def _show_plan(state: State, request: LaunchRequest, origins: dict[str, str], *, as_json: bool) -> int:
    from windlass import wire
    from windlass.launch.submit import resolve
    from windlass.models.launch import Priority
    from windlass.schedule.costs import hourly_rate

    found = resolve(request, app=state.app, store=state.store, engine=state.engine)
    rate = hourly_rate(found.queue, found.item.spec)
    shape = {
        "run": {"entity": found.item.entity, "project": found.item.project, "name": found.item.name},
        "queue": "" if found.private else found.queue.name,
        "job": found.item.spec.job or f"{found.item.entity}/{found.item.project}/{found.draft.name} (new)",
        "source": {k: v for k, v in wire.to_plain(found.draft.spec.source).items() if v},
        "author": found.item.author,
        "priority": Priority(found.item.priority).name.lower(),
        "depends_on": list(found.item.spec.depends_on),
        "config": found.item.config,
        "template_values": found.item.spec.template_values,
        "plan": {key: value for key, value in wire.to_plain(found.plan).items() if value},
        "cost_per_hour": rate,
        "expected": None if found.private else _expected(state, found, rate),
        "used_up": [] if found.private else _used_up(state, found),
        "origins": found.origins | origins,
    }
    if as_json:
        print_json(shape)
    else:
        shown = {key: value for key, value in shape.items() if value}
        click.echo(yaml_text(shown))
        note("Nothing was submitted.")
    return 0


def _expected(state: State, found: ResolvedLaunch, rate: float) -> dict[str, Any] | None:
    """What it will take and cost, judged by like runs; None without any."""
    from windlass.models.run import RunFilter, RunState
    from windlass.schedule.forecast import typical

    item = found.item
    job = item.spec.job.rpartition(":")[0] or f"{item.entity}/{item.project}/{found.draft.name}"
    ended = state.store.runs.list(
        RunFilter(entity=item.entity, queue=item.queue.name, states=(RunState.FINISHED,), limit=_LIKE)
    )
    times = [run.finished_at - run.started_at for run in ended if run.job.rpartition(":")[0] == job and run.started_at]
    takes = typical(times)
    if takes is None:
        return None
    return {"seconds": round(takes, 3), "cost": round(takes / 3600 * rate, 6), "history": len(times)}


def _used_up(state: State, found: ResolvedLaunch) -> list[str]:
    """Budgets that would hold it back."""
    from windlass.schedule.explain import used_up

    item = found.item
    budgets = state.store.schedule.budgets(item.entity)
    return [used_up(each) for each in budgets if each.user in ("", item.author) and each.used >= each.limit]


def _end(state: State, run: Run, *, as_json: bool) -> int:
    from windlass.models.run import RunState
    from windlass_cli.here import tell_end

    if as_json:
        print_json(shapes.run(run))
    else:
        tell_end(state, run)
    return 0 if run.state is RunState.FINISHED else 1
