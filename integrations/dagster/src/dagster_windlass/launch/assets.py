"""Assets whose values are made by queued jobs."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from dagster_windlass.client import WindlassClient
from dagster_windlass.config import EXTERNAL_KEY
from dagster_windlass.errors import WindlassLaunchError
from dagster_windlass.launch.ops import LAUNCH_SCHEMA, launch_request
from dagster_windlass.launch.waiting import LaunchOutcome, launch
from dagster_windlass.metadata import version_facts
from dagster_windlass.names import artifact_name, partition_names
from windlass.errors import ArtifactNotFoundError

__all__ = ["launch_job_asset"]


def launch_job_asset(
    key: str | Sequence[str] | dg.AssetKey,
    *,
    artifact: str = "",
    deps: Sequence[Any] = (),
    partitions_def: dg.PartitionsDefinition[Any] | None = None,
    resource_key: str = "windlass",
    io_manager_key: str | None = None,
    asset_options: Mapping[str, Any] | None = None,
    **launch_config: Any,
) -> dg.AssetsDefinition:
    """An asset whose compute is a Windlass run; the run logs the asset's artifact itself.

    The run finds ``dagster`` in its config (``windlass.init().config``), with ``asset_key``, ``partition_key`` and
    ``run_id``. Assets downstream read the artifact through the IO manager of this package.

    Args:
        key: Asset key.
        artifact: Name of the artifact that the run logs. Default: the name the IO manager would give (`artifact_name`).
            With partitions ``.<partition>`` follows.
        deps: Assets that must be there first.
        partitions_def: Partitions; each is one run.
        resource_key: Key of a `WindlassResource`.
        io_manager_key: IO manager with which assets downstream load the artifact. Default: ``io_manager``.
        asset_options: More arguments for `dagster.asset` (``group_name``, ``kinds``, ``automation_condition`` …).
        launch_config: As in the config of `run_launch_job`: ``uri``, ``job``, ``queue``, ``entry_point`` …

    Raises:
        WindlassLaunchError: An argument does not exist, or not exactly one source is given.
    """
    unknown = sorted(set(launch_config) - set(LAUNCH_SCHEMA))
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(LAUNCH_SCHEMA), n=1)
        raise WindlassLaunchError(
            f"there is no argument '{unknown[0]}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            code="bad-launch",
            where="launch_job_asset()",
        )
    asset_key = dg.AssetKey.from_coercible(key)
    options = dict(asset_options or {})
    metadata = {**options.pop("metadata", {}), **({EXTERNAL_KEY: {"name": artifact}} if artifact else {})}

    def launched(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        given = getattr(context.resources, resource_key)
        client: WindlassClient = given if isinstance(given, WindlassClient) else given.client()
        if context.has_partition_key_range:
            raise WindlassLaunchError(
                "several partitions are to be made in one Dagster run, and each needs a launched run of its own",
                code="several-partitions",
                hint="Leave out the backfill policy; Dagster then starts a run for each partition.",
            )
        partition = context.partition_key if context.has_partition_key else None
        told = {"asset_key": asset_key.to_user_string(), "partition_key": partition, "run_id": context.run_id}
        config = {**launch_config, "run_config": {**launch_config.get("run_config", {}), "dagster": told}}
        name = artifact or artifact_name(asset_key.path, partition)
        if artifact and partition is not None:
            name = partition_names(artifact, partition)[0]
        outcome = launch(
            client,
            launch_request(client, config),
            context.log,
            timeout=launch_config.get("timeout"),
        )
        return _result(client, outcome, name, explicit=bool(artifact), log=context.log)

    made: dg.AssetsDefinition = dg.asset(
        key=asset_key,
        deps=list(deps),
        partitions_def=partitions_def,
        metadata=metadata,
        io_manager_key=io_manager_key,
        required_resource_keys={resource_key},
        kinds=options.pop("kinds", {"windlass"}),
        **options,
    )(launched)
    return made


def _result(
    client: WindlassClient, outcome: LaunchOutcome, name: str, *, explicit: bool, log: Any
) -> dg.MaterializeResult[Any]:
    facts = outcome.metadata(client)
    made = [path for path in outcome.artifacts if path.rsplit("/", 1)[-1].partition(":")[0] == name]
    if not made:
        problem = (
            f"run {outcome.run.id} logged no artifact '{name}'; it logged: {', '.join(outcome.artifacts) or 'none'}"
        )
        if explicit:
            raise dg.Failure(problem, metadata=facts)
        log.warning(problem)
        return dg.MaterializeResult(metadata=facts)
    try:
        artifact = client.artifact(made[-1])
    except ArtifactNotFoundError as error:
        raise dg.Failure(str(error), metadata=facts) from error
    facts.update(version_facts(client, artifact))
    return dg.MaterializeResult(metadata=facts, data_version=dg.DataVersion(artifact.digest))
