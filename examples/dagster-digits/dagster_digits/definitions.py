"""What ``dagster dev -m dagster_digits.definitions`` loads."""

import os
import sys
from pathlib import Path

import dagster as dg

from dagster_digits import assets
from dagster_windlass import (
    WindlassArtifactsIOManager,
    WindlassResource,
    artifact_asset_spec,
    build_artifact_version_sensor,
    build_integrity_check,
    launch_job_asset,
    validate_definitions,
)

model = launch_job_asset(
    "model",
    deps=["training_set"],
    uri=str(Path(__file__).parent.parent / "train"),
    entry_point=[sys.executable, "train.py"],
    queue=os.environ.get("DIGITS_QUEUE", ""),
)
windlass_store = WindlassResource(project="digits")

defs = validate_definitions(
    dg.Definitions(
        assets=[
            *dg.load_assets_from_modules([assets]),
            model,
            artifact_asset_spec("model", alias="approved", key="approved_model"),
        ],
        asset_checks=[build_integrity_check("report")],
        sensors=[build_artifact_version_sensor("model", alias="approved", asset_key="approved_model")],
        resources={
            "windlass": windlass_store,
            "io_manager": WindlassArtifactsIOManager(windlass=windlass_store, cache_duration_in_minutes=60),
        },
    )
)
