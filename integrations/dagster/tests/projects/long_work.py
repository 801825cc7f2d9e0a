"""What tests launch under ``dagster dev``: work that never ends by itself, in every place, and some that does.

Whatever works writes its process id to a file in the folder ``begun`` beside ``DAGSTER_HOME``.
"""

import os
import signal
import sys
import time
from pathlib import Path

import dagster as dg

from dagster_windlass import (
    PipesWindlassClient,
    WindlassArtifactsIOManager,
    WindlassResource,
    artifact_asset_spec,
    build_artifact_version_sensor,
    launch_job_asset,
)
from dagster_windlass.executor import windlass_executor
from dagster_windlass.launch.ops import run_launch_agent, run_launch_job

BEGUN = Path(os.environ["DAGSTER_HOME"]).parent / "begun"
CODE = str(Path(__file__).parent / "code")
STORE = WindlassResource(entity="my_entity", project="my_project")
RESOURCES = {
    "windlass_resource": STORE,
    "windlass_config": dg.make_values_resource(entity=str, project=str),
}


def launched(name: str, script: str = "work.py") -> dict:
    """How a job that never ends is launched."""
    return {"uri": CODE, "queue": "work", "name": name, "entry_point": [sys.executable, script, str(BEGUN / name)]}


def work_here(name: str) -> None:
    (BEGUN / name).write_text(str(os.getpid()))
    time.sleep(300)


@dg.job(resource_defs=RESOURCES)
def op_job():
    run_launch_job()


@dg.job(resource_defs=RESOURCES)
def agent_job():
    run_launch_agent()


by_asset = launch_job_asset("by_asset", **launched("asset"))


@dg.asset
def by_pipes(context: dg.AssetExecutionContext, pipes: PipesWindlassClient):
    return pipes.run(context=context, **launched("pipes", "piped.py")).get_materialize_result()


@dg.asset
def by_step():
    work_here("step")


@dg.asset
def by_run():
    work_here("run")


@dg.asset
def too_soon():
    work_here("soon")


@dg.asset
def short():
    return 1


@dg.asset
def after_short(short):
    return short + 1


@dg.asset
def killed(short):
    os.kill(os.getpid(), signal.SIGKILL)


@dg.asset
def reader(labels):
    return labels.version


steps_on_a_queue = windlass_executor.configured(
    {
        "queue": "work",
        "entity": "my_entity",
        "project": "my_project",
        "working_directory": str(Path(__file__).parent),
        "check_step_health_interval_seconds": 1,
    }
)
defs = dg.Definitions(
    assets=[
        by_asset,
        by_pipes,
        by_step,
        by_run,
        too_soon,
        short,
        after_short,
        killed,
        reader,
        artifact_asset_spec("labels"),
    ],
    jobs=[
        op_job,
        agent_job,
        dg.define_asset_job("asset_job", selection=[by_asset]),
        dg.define_asset_job("pipes_job", selection=[by_pipes]),
        dg.define_asset_job("step_job", selection=[by_step], executor_def=steps_on_a_queue),
        dg.define_asset_job("run_job", selection=[by_run]),
        dg.define_asset_job("soon_job", selection=[too_soon]),
        dg.define_asset_job("short_job", selection=[short, after_short]),
        dg.define_asset_job("steps_job", selection=[short, after_short], executor_def=steps_on_a_queue),
        dg.define_asset_job("killed_job", selection=[short, killed], executor_def=steps_on_a_queue),
    ],
    sensors=[build_artifact_version_sensor("labels", name="new_labels", target="reader", minimum_interval_seconds=1)],
    executor=dg.in_process_executor,
    resources={
        "windlass": STORE,
        "io_manager": WindlassArtifactsIOManager(windlass=STORE),
        "pipes": PipesWindlassClient(STORE),
    },
)
