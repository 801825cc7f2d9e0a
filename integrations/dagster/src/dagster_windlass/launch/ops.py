"""`run_launch_agent` and `run_launch_job`: ops with the resources `windlass_resource` and `windlass_config`."""

import json
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_windlass.client import client_of
from dagster_windlass.config import CONFIGURATION_KEY
from dagster_windlass.errors import WindlassLaunchError
from dagster_windlass.launch.waiting import WorkingAgent, launch

if TYPE_CHECKING:
    from dagster_windlass.client import WindlassClient
    from windlass.launch.request import LaunchRequest

__all__ = ["launch_request", "run_launch_agent", "run_launch_job"]

_RESOURCES = {"windlass_resource", "windlass_config"}


def _optional(kind: Any, description: str, **more: Any) -> dg.Field:
    return dg.Field(kind, is_required=False, description=description, **more)


LAUNCH_SCHEMA: dict[str, dg.Field] = {
    "uri": _optional(str, "Directory, script or git URI with the code."),
    "job": _optional(str, "Job: [[entity/]project/]name[:alias]."),
    "docker_image": _optional(str, "Container image to run as it is."),
    "queue": _optional(str, "[entity/]queue. Without one the run is executed in this process."),
    "entry_point": _optional([str], "The command, in words."),
    "version": _optional(str, "Branch, tag or commit of a git URI."),
    "parameters": _optional(dict, "Arguments behind the entry point, written --name=value."),
    "args": _optional([str], "Arguments behind the entry point, as they are."),
    "name": _optional(str, "Display name of the run."),
    "job_name": _optional(str, "Name of the job that is made."),
    "resource": _optional(str, "Runner: process, docker … Default: the queue's."),
    "resource_args": _optional(dict, "In the resource's own words."),
    "config": _optional(dict, "Overrides as in the file of 'windlass launch -c' (run_config, args …)."),
    "run_config": _optional(dict, "Values laid over the run's config."),
    "template_values": _optional(dict, "Values of the queue's template variables."),
    "env": _optional(dict, "Environment variables, if the queue allows them."),
    "priority": _optional(str, "critical, high, medium or low."),
    "build_context": _optional(str, "Sub-directory that is the build context."),
    "dockerfile": _optional(str, "Relative to the build context."),
    "base_image": _optional(str, "Base of a generated Dockerfile."),
    "run_id": _optional(str, "Id of the run. A step that is tried again joins the run of that id."),
    "synchronous": _optional(bool, "Wait for the end. Default: true.", default_value=True),
    "timeout": _optional(float, "Seconds to wait; then the run is stopped and the op fails."),
    "cuda": _optional(bool, "Has no effect; ask for GPUs in resource_args."),
}

_SAME = ("uri", "job", "queue", "name", "job_name", "resource", "build_context", "dockerfile", "base_image", "run_id")


def launch_request(client: "WindlassClient", config: Mapping[str, Any]) -> "LaunchRequest":
    """The launch that an op's configuration asks for. Raises `WindlassLaunchError` or `WindlassError`."""
    from windlass.launch.request import LaunchRequest

    given = {key: value for key, value in config.items() if value not in (None, "", [], {})}
    sources = [key for key in ("uri", "job", "docker_image") if key in given]
    if len(sources) != 1:
        raise WindlassLaunchError(
            f"exactly one of uri, job and docker_image is needed, {len(sources)} are given", code="bad-launch"
        )
    overrides = given.get("config")
    resource = given.get("resource", "")
    if not resource and "queue" not in given:
        resource = "docker" if "docker_image" in given else "process"
    words = tuple(f"--{key}={value}" for key, value in given.get("parameters", {}).items())
    values: dict[str, Any] = {key: given[key] for key in _SAME if key in given}
    return LaunchRequest(
        **{
            **values,
            "resource": resource,
            "entity": client.entity,
            "project": client.project,
            "image": given.get("docker_image", ""),
            "git_hash": given.get("version", ""),
            "entry_point": tuple(given.get("entry_point", ())),
            "args": (*words, *given.get("args", ())),
            "overrides": json.dumps(overrides) if overrides else "",
            "resource_args": given.get("resource_args", {}),
            "run_config": given.get("run_config", {}),
            "template_values": given.get("template_values", {}),
            "env": {key: str(value) for key, value in given.get("env", {}).items()},
            "priority": given.get("priority"),
        }
    )


@dg.op(
    required_resource_keys=_RESOURCES,
    config_schema=LAUNCH_SCHEMA,
    out=dg.Out(
        dict, metadata={CONFIGURATION_KEY: {"name": "dagster-launch", "type": "launch-result"}},
        description="run_id, state, exit_code, queue, job and artifacts of the run.",
    ),
    tags={"kind": "windlass"},
)  # fmt: skip
def run_launch_job(context: dg.OpExecutionContext) -> dict[str, Any]:
    """Launch a Windlass job, show its output, and wait for its end.

    With a queue, an agent somewhere runs it; without one, an agent in this process does. The op fails when the run
    does, with its exit code and the end of its log. When Dagster cancels the op, the run is stopped.
    """
    config = context.op_config
    if config.get("cuda"):
        context.log.warning("'cuda' has no effect; ask for GPUs in resource_args.")
    wait, timeout = config.get("synchronous", True), config.get("timeout")
    with closing(client_of(context.resources)) as client:
        outcome = launch(client, launch_request(client, config), context.log, wait=wait, timeout=timeout)
        context.add_output_metadata(outcome.metadata(client))
    return outcome.to_dict()


@dg.op(
    required_resource_keys=_RESOURCES,
    config_schema={
        "queues": dg.Field([str], description="Queues to take items from."),
        "max_jobs": _optional(int, "Runs at the same time; -1 is unlimited. Default: 1."),
        "drain": _optional(bool, "End when the queues are empty and all runs are over.", default_value=False),
        "config_file": _optional(str, "launch-config.yaml with builder, registry and runners."),
    },
    tags={"kind": "windlass"},
)
def run_launch_agent(context: dg.OpExecutionContext) -> None:
    """Run a launch agent until it is cancelled. Needs windlass-agent.

    When Dagster cancels the op, the agent takes nothing more and ends when its runs do, but waits for no more than a
    minute: what runs on is taken over by another agent.
    """
    client = client_of(context.resources)
    config = context.op_config
    flags = {
        "queues": tuple(config["queues"]),
        "entity": client.entity,
        "max_jobs": config.get("max_jobs"),
        "drain": config.get("drain") or None,
    }
    work = WorkingAgent(client, config_file=config.get("config_file"), **flags)
    context.log.info("Agent %s serves %s of %s.", work.agent.id, ", ".join(config["queues"]), client.entity)
    with work:
        while work.is_alive():
            work.join(0.5)
    if work.error is not None:
        raise work.error
