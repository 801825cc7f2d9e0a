"""Launches from Dagster on a docker queue: containers that share no file with Dagster."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import dagster_pipes
import pytest

from dagster_windlass import PipesWindlassClient, launch_job_asset
from dagster_windlass.client import WindlassClient
from dagster_windlass.launch.ops import run_launch_job
from dagster_windlass.launch.waiting import WorkingAgent
from dagster_windlass.resources import WindlassResource
from windlass.models.queue import Queue
from windlass_testkit.services import PYTHON_IMAGE

pytestmark = [pytest.mark.service("python-image"), pytest.mark.slow, pytest.mark.timeout(900)]

QUEUE = "containers"
FILES = {
    "model.py": """
        import os, windlass
        with windlass.init() as run:
            print("in a container:", os.path.exists("/.dockerenv"))
            artifact = windlass.Artifact("model", "model")
            with artifact.new_file("weights") as file:
                file.write(run.config["dagster"]["asset_key"] if "dagster" in run.config else "by an op")
            run.log_artifact(artifact)
    """,
    "piped.py": """
        from dagster_pipes import open_dagster_pipes
        with open_dagster_pipes() as pipes:
            print("plain output")
            pipes.log.info("inside the container")
            pipes.report_asset_materialization(
                metadata={"loss": pipes.get_extra("loss"), "notes": {"raw_value": "# well", "type": "md"}},
                data_version="1.2",
            )
            pipes.report_asset_check(check_name="good", passed=True, metadata={"seen": 3})
            pipes.report_custom_message({"anything": [1, 2]})
    """,
    "fails.py": """
        import sys
        print("about to fail")
        sys.exit(4)
    """,
    "requirements.txt": "",
}


@pytest.fixture
def code() -> str:
    """One folder for all, so that one image is built; ``dagster-pipes`` needs nothing and lies beside the code."""
    folder = Path("code")
    folder.mkdir()
    for name, text in FILES.items():
        lines = text.strip("\n").splitlines()
        (folder / name).write_text("\n".join(line.removeprefix(" " * 8) for line in lines) + "\n")
    shutil.copytree(Path(dagster_pipes.__file__).parent, folder / "dagster_pipes")
    return str(folder)


@pytest.fixture
def client(home: Path) -> Iterator[WindlassClient]:
    found = WindlassClient.open(entity="my_entity", project="my_project")
    found.store.queues.create(Queue(entity="my_entity", name=QUEUE, resource="docker", open_fields=("env",)))
    with WorkingAgent(found, queues=(QUEUE,), entity="my_entity", max_jobs=2) as work:
        yield found
    assert work.error is None
    found.close()


@pytest.fixture
def resource() -> WindlassResource:
    return WindlassResource(entity="my_entity", project="my_project")


def messages(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(run_id)]


def test_op(client: WindlassClient, resource: WindlassResource, instance: Any, code: str) -> None:
    config = {"uri": code, "queue": QUEUE, "base_image": PYTHON_IMAGE}

    @dg.job(
        resource_defs={
            "windlass_config": dg.make_values_resource(entity=str, project=str),
            "windlass_resource": resource,
        }
    )
    def some_job():
        run_launch_job.alias("good")()
        run_launch_job.alias("bad")()

    done = some_job.execute_in_process(
        run_config={
            "resources": {"windlass_config": {"config": {"entity": "my_entity", "project": "my_project"}}},
            "ops": {
                "good": {"config": {**config, "entry_point": ["python", "model.py"]}},
                "bad": {"config": {**config, "entry_point": ["python", "fails.py"]}},
            },
        },
        instance=instance,
        raise_on_error=False,
    )
    assert not done.success
    result = done.output_for_node("good")
    assert (result["state"], result["artifacts"]) == ("finished", ["my_entity/my_project/model:v0"])
    assert client.store.runs.get(result["run_id"]).queue == QUEUE
    assert any("in a container: True" in message for message in messages(instance, done.run_id))
    failure = done.failure_data_for_node("bad").user_failure_data
    assert "exit code 4" in failure.description
    assert "about to fail" in failure.description


def test_asset(client: WindlassClient, resource: WindlassResource, run: Any, code: str) -> None:
    model = launch_job_asset(
        ["big", "model"], uri=code, entry_point=["python", "model.py"], queue=QUEUE, base_image=PYTHON_IMAGE,
        artifact="model",
    )  # fmt: skip

    @dg.asset(ins={"model": dg.AssetIn(["big", "model"])})
    def deployed(model):
        return Path(model.local_path, "weights").read_text()

    done = run(model, deployed, resources={"windlass": resource})
    assert done.output_for_node("deployed") == "big/model"
    (event,) = done.asset_materializations_for_node("big__model")
    assert event.metadata["windlass_artifact_ref"].value == "my_entity/my_project/model:v0"
    assert event.metadata["windlass_queue"].value == QUEUE
    assert event.tags["dagster/data_version"] == event.metadata["windlass_artifact_digest"].value


def test_pipes(client: WindlassClient, resource: WindlassResource, instance: Any, code: str) -> None:
    heard: list[Any] = []

    @dg.asset(check_specs=[dg.AssetCheckSpec("good", asset="model")])
    def model(context: dg.AssetExecutionContext, pipes: PipesWindlassClient):
        done = pipes.run(
            context=context, uri=code, entry_point=["python", "piped.py"], queue=QUEUE, base_image=PYTHON_IMAGE,
            extras={"loss": 0.5},
        )  # fmt: skip
        heard.extend(done.get_custom_messages())
        return done.get_materialize_result()

    done = dg.materialize([model], resources={"pipes": PipesWindlassClient(resource)}, instance=instance)
    (event,) = done.asset_materializations_for_node("model")
    assert event.metadata["loss"].value == 0.5
    assert event.metadata["notes"] == dg.MetadataValue.md("# well")
    assert event.metadata["windlass_queue"].value == QUEUE
    assert event.tags["dagster/data_version"] == "1.2"
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.metadata["seen"].value) == ("good", True, 3)
    assert heard == [{"anything": [1, 2]}]
    said = messages(instance, done.run_id)
    assert "inside the container" in said
    assert "plain output" in said
    assert not any("__dagster_pipes_version" in text for text in said)
