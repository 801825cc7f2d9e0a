"""Cancelled on Dagster's pages: what Dagster started ends everywhere, and nothing works on unseen.

One ``dagster dev`` with an agent beside it serves all tests (`pages`); they ask what a browser asks.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from attrs import evolve

import windlass
from dagster_windlass.client import WindlassClient
from windlass_testkit.servers import alive
from windlass_testkit.waiting import eventually

pytestmark = [pytest.mark.service("dagster-webserver"), pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = {"windlass_config": {"config": {"entity": "my_entity", "project": "my_project"}}}


@pytest.fixture
def store(pages: Any) -> Iterator[windlass.Api]:
    """The store that the pages' project uses."""
    with pages.store() as api:
        yield api


def only_run(store: windlass.Api, name: str) -> Any:
    (found,) = [run for run in store.runs("my_entity/my_project") if run.name == name]
    return found


def op_config(pages: Any) -> dict[str, Any]:
    code = Path(__file__).parent / "projects" / "code"
    given = {
        "uri": str(code),
        "queue": "work",
        "name": "op",
        "entry_point": [sys.executable, "work.py", str(pages.folder / "begun" / "op")],
    }
    return {"resources": CONFIG, "ops": {"run_launch_job": {"config": given}}}


@pytest.mark.parametrize("way", ["op", "asset", "pipes"])
def test_launches(pages: Any, store: windlass.Api, way: str) -> None:
    """When Dagster says that it is cancelled, the launched run is over and its process is gone."""
    dagster_run = pages.launch(f"{way}_job", op_config(pages) if way == "op" else None)
    process = pages.process_of(way)
    assert alive(process)
    pages.terminate(dagster_run)
    pages.until_it_is("CANCELED", dagster_run)
    assert only_run(store, way).state == "killed"
    assert not alive(process)


def test_step_on_a_queue(pages: Any, store: windlass.Api) -> None:
    dagster_run = pages.launch("step_job")
    process = pages.process_of("step")
    pages.terminate(dagster_run)
    pages.until_it_is("CANCELED", dagster_run)
    eventually(lambda: only_run(store, "dagster-step-by_step").state == "killed")
    eventually(lambda: not alive(process))


def test_agent(pages: Any) -> None:
    """An agent that is an op of Dagster ends in good order."""
    dagster_run = pages.launch(
        "agent_job", {"resources": CONFIG, "ops": {"run_launch_agent": {"config": {"queues": ["of_the_op"]}}}}
    )
    with contextlib.closing(WindlassClient.open(entity="my_entity")) as client:

        def states() -> list[str]:
            return [str(a.state) for a in client.store.agents.list("my_entity") if "of_the_op" in str(a.queues)]

        eventually(lambda: states() == ["polling"])
        pages.terminate(dagster_run)
        pages.until_it_is("CANCELED", dagster_run)
        assert states() == ["stopped"]


@pytest.fixture
def on_queues(pages: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The API of the pages over an instance whose run launcher puts runs on a queue."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import GrpcServerTarget
    from dagster_graphql.schema import create_schema

    folder = pages.folder / "dagster-queues"
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_launcher:\n  module: dagster_windlass.run_launcher\n  class: WindlassRunLauncher\n"
        "  config: {queue: work, entity: my_entity, project: my_project}\n"
        "run_coordinator:\n  module: dagster.core.run_coordinator\n  class: DefaultRunCoordinator\n"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    schema = create_schema()
    target = GrpcServerTarget(host="127.0.0.1", port=pages.code, socket=None, location_name="long_work")
    with dg.DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as workspace:

        def ask(query: str, **variables: Any) -> Any:
            request = workspace.create_request_context()
            found = asyncio.run(schema.execute_async(query, variable_values=variables, context_value=request))
            assert not found.errors, found.errors
            return found.data

        yield evolve(pages, ask=ask), instance


def test_runs_on_a_queue(on_queues: Any, store: windlass.Api) -> None:
    pages, instance = on_queues
    short, long = pages.launch("short_job"), pages.launch("run_job")
    process = pages.process_of("run")
    assert instance.run_launcher.check_run_worker_health(instance.get_run_by_id(long)).status.name == "RUNNING"
    pages.terminate(long)
    pages.until_it_is("CANCELED", long)
    eventually(lambda: only_run(store, f"dagster-run-{long[:8]}").state == "killed")
    assert not alive(process)
    pages.until_it_is("SUCCESS", short)
    assert store.artifact("my_entity/my_project/after_short").get("output") == 2


def test_run_on_a_queue_that_has_not_begun(on_queues: Any, store: windlass.Api) -> None:
    """Dagster asks nobody to end such a run ("force termination"); its process finds out, and does nothing."""
    pages, _instance = on_queues
    soon = pages.launch("soon_job")
    pages.terminate(soon, policy="MARK_AS_CANCELED_IMMEDIATELY")
    pages.until_it_is("CANCELED", soon)
    eventually(lambda: only_run(store, f"dagster-run-{soon[:8]}").state.is_terminal)
    assert not (pages.folder / "begun" / "soon").exists()


def test_a_new_version_starts_a_run(pages: Any, store: windlass.Api) -> None:
    """The daemon evaluates the sensor: the version becomes a materialization of the external asset, and a run."""
    with windlass.init(entity="my_entity", project="my_project") as run:
        made = run.log_artifact(["cat"], name="labels", type="dataset", serializer="json")
    pages.switch_on("long_work", "new_labels")
    with dg.DagsterInstance.get() as instance:
        event = eventually(lambda: instance.get_latest_materialization_event(dg.AssetKey("labels")))
        assert event.asset_materialization.tags["dagster/data_version"] == made.digest
        eventually(lambda: instance.get_latest_materialization_event(dg.AssetKey("reader")))
        (started,) = [r for r in instance.get_runs() if r.tags.get("windlass/artifact")]
        assert started.tags["windlass/artifact"] == "my_entity/my_project/labels:v0"
    assert store.artifact("reader").get("output") == "v0"
