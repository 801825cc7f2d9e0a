"""``windlass launch-agent`` and ``windlass agent``."""

from __future__ import annotations

import click

from windlass.models import MOST
from windlass_cli import shapes
from windlass_cli.options import entity_option, json_option
from windlass_cli.output import ago, note, print_json, table
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group


@click.command()
@click.option(
    "-q", "--queue", "queues", multiple=True, help="NAME or ENTITY/NAME of a queue to serve. May be repeated."
)
@click.option("-j", "--max-jobs", type=click.IntRange(-1, MOST), help="Runs at the same time; -1 is unlimited.")
@click.option("-e", "--entity", default=None, help="Owner of the queues. Default: theirs, if all are ENTITY/NAME.")
@click.option("-c", "--config", "path", default=None, metavar="FILE", help="launch-config.yaml.")
@click.option("--drain", is_flag=True, default=None, help="End when the queues are empty and all runs are over.")
@click.option("-v", "--verbose", count=True, help="Say what happens; twice: everything.")
@pass_state
def launch_agent(
    state: State, queues: tuple[str, ...], max_jobs: int | None, entity: str | None, path: str | None,
    drain: bool | None, verbose: int,
) -> int:  # fmt: skip
    """Take items off queues, build and run them, until it is stopped.

    Ctrl-C ends it when its runs are over, or at once with `on-stop: hand-over` in launch-config.yaml: other agents go
    on with them. A second Ctrl-C always ends it at once. The exit code is 1 if what
    became of a run could not be stored.
    """
    import logging
    import os
    import sys

    from windlass.errors import PluginNotFoundError

    state.patient = True
    try:
        from windlass_agent.agent import Agent
        from windlass_agent.config import load
    except ImportError:
        raise PluginNotFoundError("the agent is not installed", hint="pip install windlass-agent") from None
    flags = {"queues": queues, "max_jobs": max_jobs, "entity": entity, "drain": drain or None}
    config = load(path, flags)
    chatty = max(verbose, config.verbosity, state.verbosity)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.getLogger("windlass_agent").setLevel(logging.INFO if chatty < 2 else logging.DEBUG)
    logging.getLogger("windlass").setLevel(logging.WARNING if not chatty else logging.INFO)
    agent = Agent(config, state.app, state.store)
    agent.run()
    for run_id in sorted(agent.unreported):
        note(f"What became of run {run_id} could not be stored; the next agent takes it up.")
    code = 1 if agent.unreported else 0
    if agent.is_hurried:
        sys.stdout.flush()
        os._exit(code)  # Python would wait for the threads that build, or ask a store that is gone
    return code


@lazy_group("agent")
def agent() -> None:
    """Agents at work."""


@click.command()
@click.option("--all", "everything", is_flag=True, help="Those that ended, too.")
@entity_option
@json_option
@pass_state
def list_(state: State, everything: bool, entity: str, as_json: bool) -> None:
    """List agents."""
    from windlass.launch.needs import amount_text
    from windlass.models.queue import queue_name_in

    found = [
        a
        for a in state.store.agents.list(entity or state.settings.entity)
        if everything or a.state not in ("stopped", "lost")
    ]
    if as_json:
        print_json([shapes.agent(item) for item in found])
        return
    table(
        ("id", "name", "state", "queues", "runs", "slots", "host", "version", "heartbeat"),
        [
            (a.id, a.name, a.state, ", ".join(queue_name_in(ref, a.entity) for ref in a.queues),
             f"{len(a.runs)} of {a.max_jobs if a.max_jobs >= 0 else 'any'}",
             ", ".join(amount_text(slot, amount) for slot, amount in a.slots.items()), a.host, a.version,
             ago(a.heartbeat_at))
            for a in found
        ],
        empty="No agent is at work. Start one with: windlass launch-agent -q QUEUE",
    )  # fmt: skip


@click.command()
@click.argument("agent_id")
@pass_state
def drain(state: State, agent_id: str) -> None:
    """Ask the agent AGENT_ID to take nothing more and end when its runs are over."""
    state.store.agents.request_drain(agent_id)
    note(f"Agent {agent_id} ends when its runs are over.")
