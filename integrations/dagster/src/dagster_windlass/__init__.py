"""Windlass inside Dagster: values are artifacts, ops and assets launch work on queues."""

from __future__ import annotations

from dagster_windlass.config import SerializationModule, WindlassArtifactConfiguration
from dagster_windlass.errors import WindlassArtifactsIOManagerError, WindlassLaunchError
from dagster_windlass.io_manager import WindlassArtifactsIOManager, windlass_artifacts_io_manager
from dagster_windlass.launch.assets import launch_job_asset
from dagster_windlass.partitions import PartitionedOutput
from dagster_windlass.resources import WindlassConfig, WindlassResource, windlass_resource

__all__ = [
    "PartitionedOutput",
    "SerializationModule",
    "WindlassArtifactConfiguration",
    "WindlassArtifactsIOManager",
    "WindlassArtifactsIOManagerError",
    "WindlassConfig",
    "WindlassLaunchError",
    "WindlassResource",
    "launch_job_asset",
    "windlass_artifacts_io_manager",
    "windlass_resource",
]
