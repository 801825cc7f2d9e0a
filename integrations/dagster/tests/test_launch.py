"""Launching from Dagster: queues, agents, the end of runs, cancellation."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import job, make_values_resource

import windlass
from dagster_windlass import WindlassLaunchError, launch_job_asset
from dagster_windlass.client import WindlassClient
from dagster_windlass.launch.ops import run_launch_agent, run_launch_job
from dagster_windlass.launch.waiting import WorkingAgent
from dagster_windlass.resources import WindlassResource, windlass_resource
from windlass.models.queue import Queue
from windlass.models.run import RunState

RESOURCES = {
    "windlass_config": make_values_resource(entity=str, project=str),
    "windlass_resource": windlass_resource.configured({"api_key": {"env": "WINDLASS_API_KEY"}}),
}
CONFIG = {"windlass_config": {"config": {"entity": "my_entity", "project": "my_project"}}}

GOOD = """
import windlass
with windlass.init() as run:
    print("epoch 1")
    artifact = windlass.Artifact("model", "model")
    with artifact.new_file("weights") as file:
        file.write("w")
    run.log_artifact(artifact)
"""
BAD = "import sys\nprint('about to fail')\nsys.exit(3)\n"
LONG = "import time\nprint('begun', flush=True)\ntime.sleep(300)\n"


@job(resource_defs=RESOURCES)
def run_launch_agent_example():
    run_launch_agent()


@job(resource_defs=RESOURCES)
def run_launch_job_example():
    run_launch_job.alias("my_launched_job")()


def launched(uri: Path, instance: dg.DagsterInstance, raise_on_error: bool = True, **config: Any) -> Any:
    given = {"uri": str(uri), "entry_point": [sys.executable, "train.py"], "queue": "my_dagster_queue", **config}
    return run_launch_job_example.execute_in_process(
        run_config={"resources": CONFIG, "ops": {"my_launched_job": {"config": given}}},
        instance=instance,
        raise_on_error=raise_on_error,
    )


@pytest.fixture
def client(home: Path) -> Iterator[WindlassClient]:
    found = WindlassClient.open(entity="my_entity", project="my_project")
    found.store.queues.create(
        Queue(entity="my_entity", name="my_dagster_queue", resource="process", open_fields=("env", "resource_args"))
    )
    yield found
    found.close()


@pytest.fixture
def agent(client: WindlassClient) -> Iterator[WorkingAgent]:
    with WorkingAgent(client, queues=("my_dagster_queue",), entity="my_entity", max_jobs=2) as work:
        yield work
    assert work.error is None


def code(text: str) -> Path:
    folder = Path("code")
    folder.mkdir()
    (folder / "train.py").write_text(text)
    (folder / "requirements.txt").write_text("")
    return folder


def test_run_launch_job(client: WindlassClient, agent: WorkingAgent, instance: Any) -> None:
    done = launched(code(GOOD), instance)
    result = done.output_for_node("my_launched_job")
    assert result["state"] == "finished"
    assert result["exit_code"] == 0
    assert result["artifacts"] == ["my_entity/my_project/model:v0"]
    messages = [entry.user_message for entry in instance.all_logs(done.run_id)]
    assert any("epoch 1" in message for message in messages)
    assert client.store.runs.get(result["run_id"]).queue == "my_dagster_queue"


def test_failure_tells_exit_code_and_log(client: WindlassClient, agent: WorkingAgent, instance: Any) -> None:
    done = launched(code(BAD), instance, raise_on_error=False)
    assert not done.success
    failure = done.failure_data_for_node("my_launched_job").user_failure_data
    assert "exit code 3" in failure.description
    assert "about to fail" in failure.description
    assert failure.metadata["windlass_exit_code"].value == 3


def test_without_waiting(client: WindlassClient, instance: Any) -> None:
    result = launched(code(GOOD), instance, synchronous=False).output_for_node("my_launched_job")
    assert client.store.runs.get(result["run_id"]).state is RunState.QUEUED


def test_without_queue_it_runs_here(client: WindlassClient, instance: Any) -> None:
    result = launched(code(GOOD), instance, queue="").output_for_node("my_launched_job")
    assert (result["state"], result["artifacts"]) == ("finished", ["my_entity/my_project/model:v0"])
    assert [queue.name for queue in client.store.queues.list("my_entity")] == ["my_dagster_queue"]


def test_timeout_stops_the_run(client: WindlassClient, agent: WorkingAgent, instance: Any) -> None:
    done = launched(code(LONG), instance, raise_on_error=False, timeout=2.0)
    failure = done.failure_data_for_node("my_launched_job").user_failure_data
    found = client.store.runs.get(failure.metadata["windlass_run_id"].value)
    assert found.state is RunState.KILLED


def test_interruption_stops_the_run(client: WindlassClient, agent: WorkingAgent, monkeypatch: Any) -> None:
    """What Dagster does when it cancels: an exception comes up inside the op."""
    from dagster_windlass.launch import waiting
    from windlass.launch.request import LaunchRequest

    class Interrupted(BaseException):
        pass

    class Log:
        def info(self, text: str, *values: Any) -> None:
            if "begun" in text % values:
                raise Interrupted

    request = LaunchRequest(
        uri=str(code(LONG)), entry_point=(sys.executable, "train.py"), queue="my_dagster_queue", project="my_project"
    )
    with pytest.raises(Interrupted):
        waiting.launch(client, request, Log())
    (found,) = windlass.Api().runs("my_entity/my_project")
    assert found.state == "killed"


def test_agent_op(client: WindlassClient, instance: Any) -> None:
    """The agent as an op, in one thread, does what the other op asks for."""
    ended: list[Any] = []
    result = launched(code(GOOD), instance, synchronous=False).output_for_node("my_launched_job")

    def serve() -> None:
        with dg.DagsterInstance.ephemeral() as other:
            ended.append(
                run_launch_agent_example.execute_in_process(
                    run_config={
                        "resources": CONFIG,
                        "ops": {
                            "run_launch_agent": {
                                "config": {"max_jobs": -1, "queues": ["my_dagster_queue"], "drain": True}
                            }
                        },
                    },
                    instance=other,
                )
            )

    thread = threading.Thread(target=serve)
    thread.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not client.store.runs.get(result["run_id"]).state.is_terminal:
        time.sleep(0.05)
    thread.join(60)
    assert client.store.runs.get(result["run_id"]).state is RunState.FINISHED
    assert ended[0].success


@pytest.mark.parametrize("missing", ["entity", "project"])
def test_entity_and_project_are_needed(instance: Any, missing: str) -> None:
    values = {"entity": "e", "project": "p", missing: ""}
    with pytest.raises(WindlassLaunchError) as caught:
        run_launch_job_example.execute_in_process(
            run_config={
                "resources": {"windlass_config": {"config": values}},
                "ops": {"my_launched_job": {"config": {"uri": "."}}},
            },
            instance=instance,
        )
    assert caught.value.code == "entity-missing"


def test_exactly_one_source(instance: Any) -> None:
    with pytest.raises(WindlassLaunchError) as caught:
        launched(Path("."), instance, docker_image="python")
    assert caught.value.code == "bad-launch"


def test_without_an_agent_installed(client: WindlassClient, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "windlass_agent.agent", None)
    with pytest.raises(WindlassLaunchError) as caught:
        launched(code(GOOD), instance, queue="")
    assert caught.value.code == "agent-not-installed"
    assert "dagster-windlass[agent]" in caught.value.hint


def test_an_agent_that_ends_too_early(client: WindlassClient, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkingAgent, "run", lambda _self: None)
    with pytest.raises(WindlassLaunchError) as caught:
        launched(code(GOOD), instance, queue="")
    assert caught.value.code == "agent-ended"
    (found,) = windlass.Api().runs("my_entity/my_project")
    assert found.state == "killed"


def test_several_partitions_in_one_run_are_refused(client: WindlassClient, run: Any) -> None:
    model = launch_job_asset(
        "model",
        uri=str(code(GOOD)),
        queue="my_dagster_queue",
        partitions_def=dg.StaticPartitionsDefinition(["a", "b"]),
        asset_options={"backfill_policy": dg.BackfillPolicy.single_run()},
    )
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    resource = WindlassResource(entity="my_entity", project="my_project")
    with pytest.raises(WindlassLaunchError) as caught:
        run(model, resources={"windlass": resource}, tags=tags)
    assert caught.value.code == "several-partitions"
    assert not list(windlass.Api().runs("my_entity/my_project"))


def test_launch_job_asset(client: WindlassClient, agent: WorkingAgent, run: Any) -> None:
    model = launch_job_asset(
        "model",
        uri=str(code(GOOD)),
        entry_point=[sys.executable, "train.py"],
        queue="my_dagster_queue",
        artifact="model",
    )

    @dg.asset
    def deployed(model):
        return Path(model.local_path, "weights").read_text()

    resource = WindlassResource(entity="my_entity", project="my_project")
    done = run(model, deployed, resources={"windlass": resource})
    assert done.output_for_node("deployed") == "w"
    (event,) = done.asset_materializations_for_node("model")
    assert event.metadata["windlass_artifact_version"].value == "v0"
    assert event.metadata["windlass_run_state"].value == "finished"
    assert event.tags["dagster/data_version"] == event.metadata["windlass_artifact_digest"].value


PIPES = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    pipes.log.info("inside the job")
    pipes.report_asset_materialization(metadata={"loss": pipes.get_extra("loss")}, data_version="1.2")
"""


def test_messages_among_output() -> None:
    """Only whole messages are taken; one that Dagster refuses is told, and ends nothing."""
    from dagster_windlass import PipesRunLogMessageReader

    class Handler:
        def __init__(self) -> None:
            self.heard: list[Any] = []
            self.problems: list[Any] = []

        def handle_message(self, message: Any) -> None:
            if message["method"] == "odd":
                raise ValueError("odd")
            self.heard.append(message["method"])

        def report_pipes_framework_exception(self, origin: str, exc_info: Any) -> None:
            self.problems.append(exc_info[1])

    reader, handler = PipesRunLogMessageReader(), Handler()
    mark = '"__dagster_pipes_version": "0.1"'
    lines = [
        "plain",
        "{" + mark,
        '{"method": "log", ' + mark + "}",
        f'["{mark[1:24]}"]',
        '{"method": "odd", ' + mark + "}",
    ]
    with reader.read_messages(handler) as params:
        assert params == {"stdio": "stdout"}
        assert reader.sift(lines) == [lines[0], lines[1], lines[3]]
    assert handler.heard == ["log"]
    assert [str(problem) for problem in handler.problems] == ["odd"]


def test_pipes(client: WindlassClient, agent: WorkingAgent, instance: Any) -> None:
    from dagster_windlass import PipesWindlassClient

    folder = code(PIPES)

    @dg.asset
    def model(context: dg.AssetExecutionContext, pipes: PipesWindlassClient):
        return pipes.run(
            context=context,
            uri=str(folder),
            entry_point=[sys.executable, "train.py"],
            queue="my_dagster_queue",
            extras={"loss": 0.5},
        ).get_materialize_result()

    resource = WindlassResource(entity="my_entity", project="my_project")
    done = dg.materialize([model], resources={"pipes": PipesWindlassClient(resource)}, instance=instance)
    (event,) = done.asset_materializations_for_node("model")
    assert event.metadata["loss"].value == 0.5
    assert event.metadata["windlass_run_state"].value == "finished"
    assert event.tags["dagster/data_version"] == "1.2"
    assert any("inside the job" in entry.user_message for entry in instance.all_logs(done.run_id))
