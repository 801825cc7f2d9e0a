"""Artifacts that are made outside Dagster: as external assets, observed, and followed by a sensor."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from dagster_windlass.client import WindlassClient
from dagster_windlass.config import EXTERNAL_KEY
from dagster_windlass.metadata import version_facts
from windlass.errors import ArtifactNotFoundError, UsageError
from windlass.models.artifact import ArtifactFilter, ArtifactVersion

__all__ = ["artifact_asset_spec", "build_artifact_observation", "build_artifact_version_sensor"]

_PAGE = 100


def artifact_asset_spec(
    name: str,
    *,
    version: str = "",
    alias: str = "",
    key: str | Sequence[str] | dg.AssetKey | None = None,
    io_manager_key: str = "io_manager",
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dg.AssetSpec:
    """An external asset for an artifact. Assets downstream load it like any other.

    Args:
        name: ``[[entity/]project/]name`` of the artifact.
        version: ``v0``, ``v1`` …: always this one.
        alias: The version that has this alias. Default: ``latest``.
        key: Asset key. Default: the last part of `name`.
        io_manager_key: IO manager that loads it.
        metadata: More metadata.
        spec: More arguments of `dagster.AssetSpec`.

    Raises:
        UsageError: Both `version` and `alias`.
    """
    if version and alias:
        raise UsageError("both version and alias are given", where="artifact_asset_spec()", hint="Give one of them.")
    which = {"name": name, **({"version": version} if version else {}), **({"alias": alias} if alias else {})}
    return dg.AssetSpec(
        key=dg.AssetKey.from_coercible(key if key is not None else name.rpartition("/")[2]),
        metadata={**(metadata or {}), EXTERNAL_KEY: which},
        **{"kinds": {"windlass"}, **spec},
    ).with_io_manager_key(io_manager_key)


def build_artifact_observation(
    name: str,
    *,
    alias: str = "latest",
    resource_key: str = "windlass",
    io_manager_key: str = "io_manager",
    **options: Any,
) -> dg.SourceAsset:
    """An observable external asset: observing it records version, digest and aliases.

    Its data version is the digest, so that automation conditions fire when the content changes, and only then.

    Args:
        name: ``[[entity/]project/]name``.
        alias: Which version.
        resource_key: Key of a `WindlassResource`.
        io_manager_key: IO manager with which assets downstream load it.
        options: More arguments of `dagster.observable_source_asset` (``automation_condition``, ``group_name`` …).
    """

    @dg.observable_source_asset(
        name=name.rpartition("/")[2],
        io_manager_key=io_manager_key,
        required_resource_keys={resource_key},
        metadata={EXTERNAL_KEY: {"name": name, "alias": alias}},
        **options,
    )
    def observed(context: dg.AssetExecutionContext) -> dg.ObserveResult:
        client = _client(getattr(context.resources, resource_key))
        artifact = client.artifact(f"{name}:{alias}")
        return dg.ObserveResult(metadata=version_facts(client, artifact), data_version=dg.DataVersion(artifact.digest))

    return observed


def build_artifact_version_sensor(
    artifact: str,
    *,
    name: str = "",
    asset_key: str | Sequence[str] | dg.AssetKey | None = None,
    alias: str = "",
    type: str = "",
    where: Callable[[ArtifactVersion], bool] | None = None,
    resource_key: str = "windlass",
    dynamic_partitions: dg.DynamicPartitionsDefinition | None = None,
    **options: Any,
) -> dg.SensorDefinition:
    """A sensor that turns new versions of an artifact, or a moved alias, into materializations and runs.

    Every version is reported once as a materialization of the external asset. With ``target`` or ``job`` in `options`
    it requests one run, whose tag ``windlass/artifact`` is its path. The run's key is the version, so that a version
    never starts two runs; of an alias, the number of the move too, so that one that comes back starts a run again.

    Args:
        artifact: ``[[entity/]project/]name``.
        name: Name of the sensor. Default: from the artifact.
        asset_key: Key of the external asset. Default: the last part of `artifact`.
        alias: Follow this alias instead of new versions.
        type: Only versions of this type.
        where: Only versions for which this is true.
        resource_key: Key of a `WindlassResource`.
        dynamic_partitions: Each version becomes a partition ``v<N>``, and its run a run of that partition.
        options: More arguments of `dagster.sensor`.
    """
    key = dg.AssetKey.from_coercible(asset_key if asset_key is not None else artifact.rpartition("/")[2])
    default = "".join(c if c.isalnum() else "_" for c in f"{artifact}_{alias or 'versions'}")
    requests = any(options.get(one) is not None for one in ("target", "job", "job_name", "jobs", "asset_selection"))

    @dg.sensor(name=name or default, required_resource_keys={resource_key}, **options)
    def versions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        client = _client(getattr(context.resources, resource_key))
        found, cursor = _news(client, artifact, alias, context.cursor or "")
        chosen = [v for v in found if (not type or v.type == type) and (where is None or where(v))]
        if not chosen:
            if cursor != (context.cursor or ""):
                context.update_cursor(cursor)
            return dg.SkipReason(f"Nothing new of {artifact}.")
        events, runs = [], []
        for version in chosen:
            number = f"v{version.version}"
            if dynamic_partitions is not None and dynamic_partitions.name:
                context.instance.add_dynamic_partitions(dynamic_partitions.name, [number])
            partition = number if dynamic_partitions is not None else None
            events.append(
                dg.AssetMaterialization(
                    key,
                    metadata=version_facts(client, client.engine.wrap(version)),
                    partition=partition,
                    tags={"dagster/data_version": version.digest},
                )
            )
            runs.append(
                dg.RunRequest(
                    run_key=f"{version.path}@{alias}#{_moves(cursor)}" if alias else version.path,
                    partition_key=partition,
                    tags={"windlass/artifact": version.path, "windlass/digest": version.digest.replace(":", "-")},
                )
            )
        return dg.SensorResult(asset_events=events, run_requests=runs if requests else [], cursor=cursor)

    return versions


def _news(client: WindlassClient, artifact: str, alias: str, cursor: str) -> tuple[list[ArtifactVersion], str]:
    """Versions after the cursor, oldest first, and the next cursor.

    The cursor is the number of the last version; of an alias, how often it has moved and the id of its version.
    """
    entity, project, name = _place(client, artifact)
    if alias:
        try:
            found = client.engine.get(f"{entity}/{project}/{name}:{alias}").info
        except ArtifactNotFoundError:
            return [], cursor
        if found.id == cursor.partition(" ")[2]:
            return [], cursor
        return [found], f"{_moves(cursor) + 1} {found.id}"
    last = int(cursor) if cursor.isdigit() else -1
    versions: list[ArtifactVersion] = []
    before = ""
    while True:
        page = client.store.artifacts.list(
            ArtifactFilter(entity=entity, project=project, name=name, before=before, limit=_PAGE)
        )
        versions += [version for version in page if version.version > last]
        if len(page) < _PAGE or page[-1].version <= last:
            break
        before = page[-1].id
    versions.reverse()
    return versions, str(versions[-1].version) if versions else cursor


def _moves(cursor: str) -> int:
    return int(cursor.partition(" ")[0] or 0)


def _place(client: WindlassClient, artifact: str) -> tuple[str, str, str]:
    *front, name = artifact.split("/")
    entity = front[-2] if len(front) > 1 else client.entity
    return entity, front[-1] if front else client.project, name


def _client(given: Any) -> WindlassClient:
    return given if isinstance(given, WindlassClient) else given.client()
