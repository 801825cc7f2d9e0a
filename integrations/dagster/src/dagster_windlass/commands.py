"""Dagster's own worker commands as Windlass runs: what executor and run launcher have in common."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster_windlass.client import WindlassClient
from windlass.errors import RunNotFoundError
from windlass.models.run import Run

__all__ = ["find_run", "submit_command"]

_MARK = "This folder is the code of runs that start a worker of Dagster; the command is in the run.\n"


def submit_command(
    client: WindlassClient,
    command: Sequence[str],
    *,
    queue: str,
    run_id: str,
    name: str,
    image: str = "",
    env: Mapping[str, str] | None = None,
    working_directory: str = "",
    resource_args: Mapping[str, Any] | None = None,
) -> Run:
    """Put a worker command on a queue. A repeated call with the same `run_id` starts nothing twice.

    Args:
        client: The store.
        command: The command; its interpreter is replaced by ``python`` when an image is given.
        queue: The queue; it must open ``env`` to submitters.
        run_id: Id of the Windlass run.
        name: Its display name.
        image: Container image that holds the project. Empty: the agent's host has it, as with the process runner.
        env: Environment variables.
        working_directory: Where the command starts, for the process runner.
        resource_args: In the resource's own words.
    """
    from windlass.launch.request import LaunchRequest
    from windlass.launch.submit import submit

    known = find_run(client, run_id)
    if known is not None:
        return known
    words = list(command)
    args = dict(resource_args or {})
    where: dict[str, Any] = {"image": image}
    if not image:
        folder = Path(client.settings.home) / "dagster-worker"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "README").exists():
            (folder / "README").write_text(_MARK)
        where = {"uri": str(folder)}
        if working_directory:
            args.setdefault("cwd", working_directory)
    elif words and words[0] == sys.executable:
        words[0] = "python"
    variables = {key: os.environ[key] for key in ("DAGSTER_HOME",) if key in os.environ} | dict(env or {})
    request = LaunchRequest(
        **where,
        entry_point=tuple(words),
        queue=queue,
        run_id=run_id,
        name=name,
        job_name="dagster-worker",
        entity=client.entity,
        project=client.project,
        env=variables,
        resource_args=args,
    )
    return submit(request, app=client.app, store=client.store, engine=client.engine)


def find_run(client: WindlassClient, run_id: str) -> Run | None:
    """A run, or None."""
    try:
        return client.store.runs.get(run_id)
    except RunNotFoundError:
        return None
