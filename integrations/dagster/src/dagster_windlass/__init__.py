"""Windlass inside Dagster: values are artifacts, ops and assets launch work on queues."""

from __future__ import annotations

from dagster_windlass.checks import (
    build_alias_check,
    build_integrity_check,
    build_lineage_check,
    build_signature_check,
)
from dagster_windlass.config import SerializationModule, WindlassArtifactConfiguration
from dagster_windlass.errors import WindlassArtifactsIOManagerError, WindlassLaunchError
from dagster_windlass.external import (
    artifact_asset_spec,
    build_artifact_observation,
    build_artifact_version_sensor,
)
from dagster_windlass.io_manager import WindlassArtifactsIOManager, windlass_artifacts_io_manager
from dagster_windlass.launch.assets import launch_job_asset
from dagster_windlass.partitions import PartitionedOutput
from dagster_windlass.pipes import PipesRunLogMessageReader, PipesWindlassClient
from dagster_windlass.resources import WindlassConfig, WindlassResource, windlass_resource
from dagster_windlass.validation import validate_definitions

__all__ = [
    "PartitionedOutput",
    "PipesRunLogMessageReader",
    "PipesWindlassClient",
    "SerializationModule",
    "WindlassArtifactConfiguration",
    "WindlassArtifactsIOManager",
    "WindlassArtifactsIOManagerError",
    "WindlassConfig",
    "WindlassLaunchError",
    "WindlassResource",
    "artifact_asset_spec",
    "build_alias_check",
    "build_artifact_observation",
    "build_artifact_version_sensor",
    "build_integrity_check",
    "build_lineage_check",
    "build_signature_check",
    "launch_job_asset",
    "validate_definitions",
    "windlass_artifacts_io_manager",
    "windlass_resource",
]
