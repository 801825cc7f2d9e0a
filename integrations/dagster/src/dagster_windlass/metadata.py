"""Metadata on both sides: what Dagster shows of an artifact, and what an artifact tells of Dagster."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_windlass.client import WindlassClient

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.models.run import Run

__all__ = ["artifact_side", "consumed", "dagster_side", "shape_of", "version_facts"]

INTEGRATION = "dagster_windlass"


@cache
def integration_version() -> str:
    """Version of this distribution."""
    try:
        return version("dagster-windlass")
    except PackageNotFoundError:  # pragma: no cover - run from a source tree
        return "0"


def artifact_side(context: dg.OutputContext, partition: str | None) -> dict[str, Any]:
    """What is recorded with the artifact: where in Dagster it comes from."""
    facts: dict[str, Any] = {
        "source_integration": INTEGRATION,
        "source_integration_version": integration_version(),
        "source_dagster_version": dg.__version__,
        "source_dagster_run_id": run_id_of(context),
        "source_created_at": datetime.now(UTC).isoformat(),
        "source_python_version": platform.python_version(),
    }
    for name, attribute in (("job", "job_name"), ("step", "step_key"), ("code_version", "version")):
        try:
            value = getattr(context, attribute)
        except Exception:  # Dagster raises several kinds for what a hand-made context does not have
            value = None
        if value:
            facts[f"source_dagster_{name}"] = str(value)
    if context.has_asset_key:
        facts["source_dagster_asset_key"] = context.asset_key.to_user_string()
    if partition is not None:
        facts["source_dagster_partition"] = str(partition)
        if isinstance(partition, dg.MultiPartitionKey):
            facts["source_dagster_partition_dimensions"] = dict(partition.keys_by_dimension)
    return facts


def run_id_of(context: dg.OutputContext | dg.InputContext) -> str:
    """Id of the Dagster run that executes; empty for a hand-made context."""
    try:
        return str(context.step_context.run_id)
    except Exception:
        return ""


def version_facts(client: WindlassClient, artifact: Artifact) -> dict[str, Any]:
    """What Dagster shows of a version."""
    page = client.page(artifact.entity, artifact.project, "artifacts", artifact.type, artifact.name, artifact.version)
    return {
        "windlass_artifact_id": artifact.id,
        "windlass_artifact_name": artifact.name,
        "windlass_artifact_type": artifact.type,
        "windlass_artifact_version": artifact.version,
        "windlass_artifact_size": dg.MetadataValue.int(artifact.size) if artifact.size >= 0 else "unknown",
        "windlass_artifact_url": _link(client, page),
        "windlass_artifact_digest": artifact.digest,
        "windlass_artifact_aliases": dg.MetadataValue.json(list(artifact.aliases)),
        "windlass_artifact_ref": artifact.path,
        "windlass_entity": artifact.entity,
        "windlass_project": artifact.project,
        "dagster/uri": f"windlass://{artifact.path}",
        "dagster/storage_kind": "windlass",
    }


def dagster_side(client: WindlassClient, artifact: Artifact, run: Run, dagster_run: str) -> dict[str, Any]:
    """What Dagster shows with a materialization."""
    return {
        "dagster_run_id": dg.MetadataValue.dagster_run(dagster_run) if dagster_run else "",
        **version_facts(client, artifact),
        "windlass_run_id": run.id,
        "windlass_run_name": run.name,
        "windlass_run_path": f"{run.entity}/{run.project}/{run.id}",
        "windlass_run_url": _link(client, client.page(run.entity, run.project, run.id)),
    }


def _link(client: WindlassClient, page: str) -> Any:
    return dg.MetadataValue.url(page) if client.host else dg.MetadataValue.text(page)


def consumed(loaded: Artifact) -> dict[str, Any]:
    """What Dagster records about a version that an input has read."""
    return {
        "windlass_artifact_name": loaded.name,
        "windlass_artifact_version": loaded.version,
        "windlass_artifact_digest": loaded.digest,
        "windlass_artifact_ref": loaded.path,
    }


def shape_of(value: Any) -> dict[str, Any]:
    """Row count and columns of a table or data frame; empty for anything else. Imports nothing."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    if package == "windlass" and kind.__name__ == "Table":
        rows = len(value)
        first = value.data[0] if rows else [None] * len(value.columns)
        columns: Iterable[tuple[Any, str]] = [
            (name, type(cell).__name__ if rows else "unknown") for name, cell in zip(value.columns, first, strict=True)
        ]
    elif package in ("pandas", "polars") and kind.__name__ == "DataFrame":
        types = value.dtypes if package == "polars" else value.dtypes.tolist()
        columns = [(name, str(dtype)) for name, dtype in zip(value.columns, types, strict=True)]
        rows = len(value)
    elif package == "pyarrow" and kind.__name__ == "Table":
        columns = [(field.name, str(field.type)) for field in value.schema]
        rows = value.num_rows
    else:
        return {}
    schema = dg.TableSchema(columns=[dg.TableColumn(str(name), type=text) for name, text in columns])
    return {"dagster/row_count": rows, "dagster/column_schema": dg.MetadataValue.table_schema(schema)}
