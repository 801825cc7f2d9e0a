"""A run launcher: each Dagster run is a Windlass run on a queue.

In ``dagster.yaml``::

    run_launcher:
      module: dagster_windlass.run_launcher
      class: WindlassRunLauncher
      config: {queue: dagster, entity: team, project: orchestration}

This module uses parts of Dagster that all its run launchers use, though not documented as public; it is tested with
each supported minor version of Dagster.
"""

import sys
from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance, DagsterRun, Field, Noneable, StringSource
from dagster import _check as check
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from dagster_windlass.client import WindlassClient
from dagster_windlass.commands import find_run, submit_command
from windlass.models.run import RunState

__all__ = ["WindlassRunLauncher"]


class WindlassRunLauncher(RunLauncher[DagsterInstance], ConfigurableClass):
    """Launches Dagster runs on a Windlass queue.

    Args:
        queue: The queue; it must open ``env`` to submitters.
        entity: Owner of the queue.
        project: Where the Windlass runs belong.
        host: URL of a server. Default: an embedded store.
        api_key: Key for the server.
        image: Image with the project. Default: the agent's host has the project.
        env: More environment variables of the workers.
        working_directory: Where workers start, on hosts without images.
        resource_args: In the resource's own words.
        inst_data: Given by Dagster.
    """

    def __init__(
        self,
        queue: str,
        entity: str = "",
        project: str = "",
        host: str = "",
        api_key: str = "",
        image: str = "",
        env: Mapping[str, str] | None = None,
        working_directory: str = "",
        resource_args: Mapping[str, Any] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        self._inst_data = check.opt_inst_param(inst_data, "inst_data", ConfigurableClassData)
        self._queue = queue
        self._image = image
        self._env = dict(env or {})
        self._working_directory = working_directory
        self._resource_args = dict(resource_args or {})
        self._client = WindlassClient.open(api_key=api_key, host=host, entity=entity, project=project)
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Given by Dagster."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Schema of ``config``."""
        text = Field(StringSource, is_required=False)
        optional = dict.fromkeys(("entity", "project", "host", "api_key", "image", "working_directory"), text)
        return {
            "queue": Field(StringSource, is_required=True, description="Queue on which runs are launched."),
            **optional,
            "env": Field(Noneable(dict), is_required=False),
            "resource_args": Field(Noneable(dict), is_required=False),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> "WindlassRunLauncher":
        """Called by Dagster."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put the run on the queue."""
        run = context.dagster_run
        arguments = ExecuteRunArgs(
            job_origin=check.not_none(run.job_code_origin),
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
        )
        command = arguments.get_command_args()
        if command and command[0] != sys.executable and not self._image:
            command = [sys.executable, *command[1:]] if command[0].endswith("python") else command
        launched = submit_command(
            self._client,
            command,
            queue=self._queue,
            run_id=_windlass_id(run.run_id),
            name=f"dagster-run-{run.run_id[:8]}",
            image=self._image,
            env=self._env,
            working_directory=self._working_directory,
            resource_args=self._resource_args,
        )
        self._instance.report_engine_event(f"Launched as Windlass run {launched.id} on queue {launched.queue}.", run)

    def terminate(self, run_id: str) -> bool:
        """Stop the run. True if there was something to stop."""
        found = find_run(self._client, _windlass_id(run_id))
        if found is None or found.state.is_terminal:
            return False
        run = self._instance.get_run_by_id(run_id)
        if run is not None:
            self._instance.report_run_canceling(run)
        ended = self._client.store.runs.request_stop(found.id)
        if ended.state.is_terminal and run is not None:  # it was still queued: nobody else will say so
            self._instance.report_run_canceled(run)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """How the worker is, as its Windlass run tells."""
        found = find_run(self._client, _windlass_id(run.run_id))
        if found is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND)
        if found.state is RunState.FINISHED:
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        if found.state.is_terminal:
            why = found.reason.message if found.reason else ""
            return CheckRunHealthResult(WorkerStatus.FAILED, f"Windlass run {found.id} {found.state}: {why}")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def dispose(self) -> None:
        """Give back connections."""
        self._client.close()


def _windlass_id(run_id: str) -> str:
    return f"dagster-{run_id[:36]}"
