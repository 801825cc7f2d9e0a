"""``windlass run``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from windlass_cli import shapes, waiting
from windlass_cli.options import entity_option, json_option, limit_option
from windlass_cli.output import ago, facts, json_text, note, print_json, seconds, size, table
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group

if TYPE_CHECKING:
    from windlass.models.run import Run

DEAD = ("failed", "crashed", "killed")
STATES = ("queued", "pending", "running", "finished", "failed", "killed", "crashed")


@lazy_group("run")
def run() -> None:
    """Runs: state, logs, stop, retry."""


@click.command()
@click.option("-p", "--project", default="", help="Only this project.")
@click.option("-q", "--queue", default="", help="Only this queue.")
@click.option("--group", default="", help="Only this group.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only this state. May be repeated.")
@limit_option
@entity_option
@json_option
@pass_state
def list_(
    state: State, project: str, queue: str, group: str, states: tuple[str, ...], limit: int, entity: str, as_json: bool
) -> None:
    """List runs, newest first."""
    from windlass.models.run import RunFilter, RunState

    found = state.store.runs.list(
        RunFilter(
            entity=entity or state.settings.entity, project=project, queue=queue, group=group, limit=limit,
            states=tuple(RunState(name) for name in states),
        )
    )  # fmt: skip
    if as_json:
        print_json([shapes.run(item) for item in found])
        return
    table(
        ("id", "name", "state", "project", "queue", "created", "duration", "reason"),
        [
            (r.id, r.name, r.state, r.project, "" if r.queue == f"run-{r.id}" else r.queue, ago(r.created_at),
             seconds(shapes.duration(r)), r.reason.code if r.reason else waiting.unheard(r))
            for r in found
        ],
        empty="There are no runs. Start one with: windlass launch -u DIRECTORY -E 'python train.py'",
    )  # fmt: skip


@click.command()
@click.argument("run_id")
@json_option
@pass_state
def show(state: State, run_id: str, as_json: bool) -> None:
    """Show the run RUN_ID."""
    found = state.store.runs.get(run_id)
    why = waiting.explained(state.store, found)
    if as_json:
        print_json(shapes.run(found) | {"artifacts": _artifacts(state, run_id), "waiting": waiting.shape(why)})
        return
    shape = shapes.run(found)
    reason, silent = found.reason, waiting.unheard(found)
    usage = found.usage
    facts(
        {
            "id": found.id,
            "name": found.name,
            "state": found.state.value,
            "phase": found.phase.value,
            "reason": f"{reason.code}: {reason.message}" + (f"\nhint: {reason.hint}" if reason.hint else "")
            if reason
            else (silent and f"{silent}; if its process is gone: windlass run stop {run_id}"),
            "waits for": waiting.told(why),
            "agent": waiting.orphaned(state.store, found, state.settings.lease_seconds),
            "exit code": found.exit_code,
            "project": f"{found.entity}/{found.project}",
            "job": found.job,
            "queue": found.queue,
            "resource": found.resource,
            "image": found.image,
            "attempt": found.attempt,
            "author": found.author,
            "started by": f"trigger {shape['trigger']}" if shape["trigger"] else "",
            "retry of": shape["retry_of"],
            "created": shape["created_at"],
            "started": shape["started_at"],
            "finished": shape["finished_at"],
            "duration": seconds(shape["duration"]) if shape["duration"] is not None else "",
            "steps": ", ".join(f"{name} {seconds(value)}" for name, value in found.timings.items()),
            "memory": size(usage.max_rss) if usage and usage.max_rss else "",
            "cpu": seconds(usage.cpu_seconds) if usage and usage.cpu_seconds is not None else "",
            "gpu": seconds(usage.gpu_seconds) if usage and usage.gpu_seconds is not None else "",
            "cost": f"{found.cost:.2f}" if found.cost else "",
            "source": _source(found),
            "command": _command(found),
            "values": _lines(dict(found.spec.template_values) if found.spec else {}),
            "config": _lines(shape["config"]),
            "summary": _lines(shape["summary"]),
            "artifacts": "\n".join(
                f"{item['kind']} {item['artifact']}{'  collected' if item['collected'] else ''}"
                for item in _artifacts(state, run_id)
            ),
            "tags": ", ".join(found.tags),
            "notes": found.notes,
        }
    )


def _source(run: Run) -> str:
    """The code that it was launched with; an image has a row of its own."""
    if run.spec is None:
        return ""
    source = run.spec.source
    return f"{source.remote} at {source.commit}" if source.remote else source.artifact


def _command(run: Run) -> str:
    """What was started, else what will be, as far as it is known before."""
    import shlex

    from windlass.models import INTERNAL

    resolved = ((run.config.get(INTERNAL) or {}).get("provenance") or {}).get("resolved") or {}
    if resolved.get("command") or run.spec is None:
        return shlex.join(resolved.get("command") or ())
    return shlex.join((*(run.spec.entry_point or run.spec.source.entry_point), *run.spec.args))


def _lines(values: dict[str, Any]) -> str:
    import json

    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())


def _artifacts(state: State, run_id: str) -> list[dict[str, Any]]:
    store = state.store.artifacts
    edges = store.edges(run_id=run_id, collected=True)
    return [shapes.edge(edge, edge.collected or store.get_by_id(edge.version).path) for edge in edges]


@click.command()
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over.")
@click.option("--build/--no-build", default=True, help="With the image's build log. Default: yes.")
@pass_state
def logs(state: State, run_id: str, follow: bool, build: bool) -> None:
    """Print the output of the run RUN_ID, byte for byte."""
    state.store.runs.get(run_id)
    follow_log(state, run_id, follow=follow, build=build)


def follow_log(state: State, run_id: str, *, follow: bool, build: bool = True) -> None:
    """Copy a run's output to stdout, until the run is over with `follow`."""
    from windlass.sdk.session import PATIENCE, patiently

    start, delay, patience = 0, 0.05, PATIENCE if follow else 0.0
    while True:
        page = patiently(lambda at=start: state.store.runs.read_log(run_id, at), patience)  # type: ignore[misc]
        for line in page.lines:
            if build or line.stream != "build":
                sys.stdout.buffer.write(line.data)
        sys.stdout.buffer.flush()
        if page.lines:
            start, delay = page.next, 0.05
            continue
        if page.ended or not follow:
            return
        time.sleep(delay)
        delay = min(delay * 1.5, 0.5)


@click.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@click.option("--wait/--no-wait", default=False, help="Wait until they are over.")
@pass_state
def stop(state: State, run_ids: tuple[str, ...], wait: bool) -> int:
    """Ask for the end of runs: SIGTERM, and SIGKILL after the grace time.

    One that cannot be stopped does not keep the others: each is tried, and the exit code is 1 if any failed. A run that
    was not launched and says for three minutes nothing, as its process was killed, is over with that. With
    --wait, a run whose agent is gone is taken over here once its claim has ended, and stopped with all its processes.
    """
    from windlass.errors import WindlassError

    asked, failed = [], False
    for run_id in run_ids:
        try:
            item = state.store.runs.get(run_id)
            if item.state.is_terminal:
                note(f"Run {item.id} is over already ({item.state}).")
                continue
            item = state.store.runs.request_stop(item.id)
        except WindlassError as error:
            if len(run_ids) == 1:
                raise
            note(f"error: {error}")
            failed = True
            continue
        note(f"Run {item.id} is {item.state}." if item.state.is_terminal else f"Stopping run {item.id} …")
        if not wait and (advice := waiting.orphaned(state.store, item, state.settings.lease_seconds)):
            note(advice)
        asked.append(item.id)
    if wait:
        for run_id in asked:
            _wait_for_end(state, run_id)
    return 1 if failed else 0


def _wait_for_end(state: State, run_id: str) -> None:
    """Wait for the end of a run that was asked to stop; when nobody is left to stop it, do that here."""
    from windlass.sdk.session import patiently

    delay, look_at = 0.02, 0.0
    while not (found := patiently(lambda: state.store.runs.get(run_id))).state.is_terminal:
        if time.monotonic() >= look_at:
            if waiting.unheard(found):
                state.store.runs.request_stop(run_id)
            if waiting.is_abandoned(state.store, found, state.settings.lease_seconds):
                from windlass_cli.here import take_over

                note(f"The agent of run {run_id} is gone; it is stopped from here as soon as its claim ends …")
                take_over(state, found)
                continue
            look_at = time.monotonic() + 2.0
        time.sleep(delay)
        delay = min(delay * 1.5, 0.5)
    note(f"Run {run_id} is {found.state}.")


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID]...")
@click.option("-q", "--queue", default="", help="All of this queue that did not finish.")
@click.option("--state", "states", multiple=True, type=click.Choice(DEAD), help="All in this state. May be repeated.")
@click.option("--reason", "reasons", multiple=True, metavar="CODE", help="All that ended so, e.g. agent-lost.")
@click.option("--exact", is_flag=True, help="Pin all that can be pinned, and say what cannot.")
@entity_option
@json_option
@pass_state
def retry(
    state: State, run_ids: tuple[str, ...], queue: str, states: tuple[str, ...], reasons: tuple[str, ...], exact: bool,
    entity: str, as_json: bool,
) -> int:  # fmt: skip
    """Launch again what runs ran, with the same inputs, as new runs on their queues.

    Name runs, or choose dead letters with --queue, --state and --reason. A chosen one is launched again once, however
    often this is called; a named one each time. What others wait for comes first, and they wait for its retry. A named
    run that had no queue is run again here and now. With --json: the new run, or an array when runs were chosen or
    several are named. The exit code is 1 if any could not be launched, or did not finish here.
    """
    from windlass.errors import UsageError, WindlassError
    from windlass.launch.again import DEAD as OVER
    from windlass.launch.again import dead_letters, in_order, launch_again
    from windlass.models.run import RunState

    chosen = bool(queue or states or reasons)
    if chosen == bool(run_ids):
        raise UsageError(
            "name runs, or choose them" if chosen else "no run is named", where="run retry",
            hint="windlass run retry RUN_ID, or: windlass run retry --queue QUEUE --reason agent-lost",
        )  # fmt: skip
    if chosen:
        found = dead_letters(
            state.store, entity or state.settings.entity, queue=queue,
            states=tuple(map(RunState, states)) or OVER, reasons=reasons,
        )  # fmt: skip
        run_ids = tuple(reversed([item.id for item in found]))
    launched, failed = [], False
    for run_id in in_order(state.store, run_ids):
        try:
            new, made = launch_again(state.store, run_id, exact=exact, once=chosen, here=not chosen, say=note)
            ended = _here(state, run_id, new, quiet=as_json)
        except WindlassError as error:
            if len(run_ids) == 1:
                raise
            note(json_text(error.to_dict()) if as_json else f"error: {error}")
            failed = True
            continue
        launched.append(ended or new)
        if ended is not None:
            failed = failed or ended.state is not RunState.FINISHED
            continue
        said = (
            f"Launched run {new.id} on queue {new.queue}."
            if made
            else f"Run {run_id} was launched again already, as {new.id}."
        )
        if not as_json:
            click.echo(said)
    if as_json:
        print_json([shapes.run(new) for new in launched] if chosen or len(run_ids) > 1 else shapes.run(launched[0]))
    elif not run_ids:
        note("No run fits.")
    return 1 if failed else 0


def _here(state: State, old: str, run: Run, *, quiet: bool) -> Run | None:
    """How a retry without a queue ended, which is run by this command; None for one on a queue."""
    from windlass.launch.private import was_private
    from windlass_cli.here import serve, tell_end

    if not was_private(run, state.store):
        return None
    note(f"Run {old} had no queue: running it again here, as {run.id}, with the {run.resource} runner.")
    ended = serve(state, run, quiet=quiet)
    if not quiet:
        tell_end(state, ended)
    return ended


@click.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@pass_state
def delete(state: State, run_ids: tuple[str, ...]) -> None:
    """Delete runs that are over, with their logs and metrics. Artifacts stay."""
    for run_id in run_ids:
        state.store.runs.delete(run_id)
        note(f"Deleted run {run_id}.")
