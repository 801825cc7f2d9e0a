"""What must work beside every supported version of Dagster; run in an environment with nothing else in it."""

import sys
from pathlib import Path

import dagster as dg

import dagster_windlass.components
from dagster_windlass import PartitionedOutput, WindlassArtifactsIOManager, WindlassResource
from dagster_windlass.executor import windlass_executor

COLORS = dg.StaticPartitionsDefinition(["red", "blue", "green"])
SPAN = {"dagster/asset_partition_range_start": "red", "dagster/asset_partition_range_end": "green"}


@dg.asset(partitions_def=COLORS, backfill_policy=dg.BackfillPolicy.single_run())
def colors(context):
    return PartitionedOutput((color, {"name": color}) for color in context.partition_keys)


@dg.asset(partitions_def=COLORS)
def upper(colors):
    return colors["name"].upper()


@dg.asset
def everything(upper):
    return upper


home = Path(sys.argv[1])
manager = WindlassArtifactsIOManager(windlass=WindlassResource(entity="e", project="p", home=str(home / "windlass")))
(home / "dagster.yaml").write_text(
    "telemetry: {enabled: false}\n"
    "run_launcher:\n  module: dagster_windlass.run_launcher\n  class: WindlassRunLauncher\n  config: {queue: q}\n"
)
with dg.DagsterInstance.from_config(str(home)) as instance:
    assert type(instance.run_launcher).__name__ == "WindlassRunLauncher"

    def made(*selection, **more):
        assets = [colors, upper, everything]
        return dg.materialize(
            assets, selection=list(selection), resources={"io_manager": manager}, instance=instance, **more
        )

    events = made(colors, tags=SPAN).asset_materializations_for_node("colors")
    names = {event.partition: event.metadata["windlass_artifact_name"].value for event in events}
    assert names == {color: f"colors.{color}" for color in COLORS.get_partition_keys()}, names
    for color in COLORS.get_partition_keys():
        assert made(upper, partition_key=color).success
    found = made(everything).output_for_node("everything")
    assert found == {color: color.upper() for color in COLORS.get_partition_keys()}, found
    (event,) = made(everything).asset_materializations_for_node("everything")
    assert event.tags["dagster/data_version"] == event.metadata["windlass_artifact_digest"].value
assert windlass_executor.configured({"queue": "q"}).name == "windlass"
assert issubclass(dagster_windlass.components.LaunchJobComponent, dg.Component)
print("works with", dg.__version__)
