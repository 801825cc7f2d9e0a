"""An executor: each step of a Dagster run is a Windlass run on a queue.

This module uses parts of Dagster that all its step-delegating executors use, though not documented as public; it is
tested with each supported minor version of Dagster.
"""

import sys
from collections.abc import Iterator
from hashlib import blake2b

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)

from dagster_windlass.client import WindlassClient
from dagster_windlass.commands import find_run, submit_command

__all__ = ["WindlassStepHandler", "windlass_executor"]

_TEXT = dg.Field(dg.StringSource, is_required=False)


class WindlassStepHandler(StepHandler):
    """Puts steps on a queue.

    Args:
        client: The store.
        queue: The queue; it must open ``env`` to submitters.
        image: Image with the project. Empty: the agent's host has it.
        env: More environment variables.
        working_directory: Where steps start, on hosts without images.
        resource_args: In the resource's own words.
    """

    def __init__(
        self,
        client: WindlassClient,
        queue: str,
        image: str = "",
        env: dict[str, str] | None = None,
        working_directory: str = "",
        resource_args: dict[str, object] | None = None,
    ) -> None:
        super().__init__()
        self._client = client
        self._queue = queue
        self._image = image
        self._env = env or {}
        self._working_directory = working_directory
        self._resource_args = resource_args or {}

    @property
    def name(self) -> str:
        """Name in Dagster's events."""
        return "WindlassStepHandler"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Put the step on the queue."""
        step = _step_key(step_handler_context)
        command = list(step_handler_context.execute_step_args.get_command_args())
        if not self._image and command and command[0].endswith("python"):
            command[0] = sys.executable
        run = submit_command(
            self._client,
            command,
            queue=self._queue,
            run_id=_windlass_id(step_handler_context),
            name=f"dagster-step-{step}",
            image=self._image,
            env=self._env,
            working_directory=self._working_directory,
            resource_args=self._resource_args,
        )
        yield dg.DagsterEvent.step_worker_starting(
            step_handler_context.get_step_context(step),
            message=f"Step {step} is Windlass run {run.id} on queue {run.queue}.",
            metadata={"windlass_run_id": dg.MetadataValue.text(run.id)},
        )

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether the step's run is alive, or ended well."""
        run = find_run(self._client, _windlass_id(step_handler_context))
        if run is None:
            return CheckStepHealthResult.unhealthy("there is no Windlass run for the step")
        if run.state.is_terminal and str(run.state) != "finished":
            code = f" with exit code {run.exit_code}" if run.exit_code is not None else ""
            why = f": {run.reason.message}" if run.reason else ""
            return CheckStepHealthResult.unhealthy(f"Windlass run {run.id} {run.state}{code}{why}")
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Stop the step's run."""
        run = find_run(self._client, _windlass_id(step_handler_context))
        if run is not None and not run.state.is_terminal:
            self._client.store.runs.request_stop(run.id)
        yield from ()


def _step_key(context: StepHandlerContext) -> str:
    (key,) = context.execute_step_args.step_keys_to_execute or [""]
    return key


def _windlass_id(context: StepHandlerContext) -> str:
    """The same for the same attempt of a step, so that asking twice starts it once."""
    args = context.execute_step_args
    step = _step_key(context)
    state = args.known_state
    attempt = state.get_retry_state().get_attempt_count(step) if state is not None else 0
    digest = blake2b(f"{args.run_id}/{step}/{attempt}".encode(), digest_size=10).hexdigest()
    return f"dagster-step-{digest}"


@dg.executor(
    name="windlass",
    config_schema={
        "queue": dg.Field(dg.StringSource, description="Queue on which steps are launched."),
        **dict.fromkeys(("entity", "project", "host", "api_key", "image", "working_directory"), _TEXT),
        "env": dg.Field(dict, is_required=False),
        "resource_args": dg.Field(dict, is_required=False),
        "max_concurrent": dg.Field(int, is_required=False, description="Steps at the same time. Default: the queue's."),
        "check_step_health_interval_seconds": dg.Field(int, is_required=False, default_value=5),
    },
    requirements=multiple_process_executor_requirements(),
)
def windlass_executor(context: dg.InitExecutorContext) -> StepDelegatingExecutor:
    """Each step is a Windlass run on a queue. Needs an instance that the steps share (``DAGSTER_HOME``)."""
    from dagster._core.execution.retries import RetryMode

    config = context.executor_config
    client = WindlassClient.open(**{key: str(config.get(key, "")) for key in ("api_key", "host", "entity", "project")})
    handler = WindlassStepHandler(
        client,
        str(config["queue"]),
        image=str(config.get("image", "")),
        env=dict(config.get("env") or {}),  # type: ignore[call-overload]
        working_directory=str(config.get("working_directory", "")),
        resource_args=dict(config.get("resource_args") or {}),  # type: ignore[call-overload]
    )
    return StepDelegatingExecutor(
        handler,
        retries=RetryMode.ENABLED,
        max_concurrent=config.get("max_concurrent"),  # type: ignore[arg-type]
        check_step_health_interval_seconds=config["check_step_health_interval_seconds"],  # type: ignore[arg-type]
        should_verify_step=True,
    )
