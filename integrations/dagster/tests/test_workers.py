# ruff: noqa: E501 - the project is one text
"""Dagster's own work on queues: steps by the executor, runs by the run launcher. With real agents and processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import windlass
from dagster_windlass.client import WindlassClient
from dagster_windlass.launch.waiting import WorkingAgent
from windlass.models.queue import Queue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PROJECT = """
import os, signal, time
import dagster as dg
from dagster_windlass import WindlassArtifactsIOManager, WindlassResource
from dagster_windlass.executor import windlass_executor

@dg.asset
def first():
    return 1

@dg.asset
def second(first):
    if os.environ.get("KILL_STEP") or os.path.exists(os.path.join(os.environ["DAGSTER_HOME"], "kill")):
        os.kill(os.getpid(), signal.SIGKILL)
    return first + 1

@dg.asset
def long():
    open(os.path.join(os.environ["DAGSTER_HOME"], "begun"), "w").close()
    time.sleep(300)

RESOURCES = {"io_manager": WindlassArtifactsIOManager(windlass=WindlassResource(entity="my_entity", project="my_project"))}

def make_job():
    return dg.Definitions(
        assets=[first, second], jobs=[dg.define_asset_job("steps")], resources=RESOURCES,
        executor=windlass_executor.configured(
            {"queue": "workers", "entity": "my_entity", "project": "my_project", "check_step_health_interval_seconds": 1,
             "working_directory": os.path.dirname(os.path.abspath(__file__))}
        ),
    ).resolve_job_def("steps")

defs = dg.Definitions(
    assets=[first, second, long], resources=RESOURCES, executor=dg.in_process_executor,
    jobs=[dg.define_asset_job("short_job", selection=[first, second]), dg.define_asset_job("long_job", selection=[long])],
)

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        done = dg.execute_job(dg.reconstructable(make_job), instance=instance)
        print("SUCCESS" if done.success else "FAILURE")
        for event in done.all_events:
            if event.is_step_failure or "Windlass run" in (event.message or ""):
                print(event.message, event.event_specific_data)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "project.py").write_text(PROJECT)
    folder = tmp_path / "dagster"
    folder.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    client = WindlassClient.open(entity="my_entity", project="my_project")
    client.store.queues.create(
        Queue(entity="my_entity", name="workers", resource="process", open_fields=("env", "resource_args"))
    )
    with WorkingAgent(client, queues=("workers",), entity="my_entity", max_jobs=2) as work:
        yield tmp_path
    client.close()
    assert work.error is None


def steps(project: Path) -> str:
    done = subprocess.run(
        [sys.executable, "project.py"],
        cwd=project, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_executor(project: Path, api: windlass.Api) -> None:
    out = steps(project)
    assert "SUCCESS" in out
    assert api.artifact("second").get("output") == 2
    names = {run.name for run in api.runs("my_entity/my_project", queue="workers")}
    assert names == {"dagster-step-first", "dagster-step-second"}


def test_killed_step_is_told(project: Path, api: windlass.Api) -> None:
    (project / "dagster" / "kill").touch()
    out = steps(project)
    assert "FAILURE" in out
    assert "Windlass run" in out
    assert not api.artifact_exists("second")


def test_run_launcher(project: Path, api: windlass.Api) -> None:
    (project / "dagster" / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_launcher:\n  module: dagster_windlass.run_launcher\n  class: WindlassRunLauncher\n"
        "  config: {queue: workers, entity: my_entity, project: my_project, working_directory: '"
        + str(project)
        + "'}\n"
        "run_coordinator:\n  module: dagster._core.run_coordinator\n  class: DefaultRunCoordinator\n"
    )
    for job, wanted in (("short_job", dg.DagsterRunStatus.SUCCESS), ("long_job", dg.DagsterRunStatus.CANCELED)):
        launched = subprocess.run(
            [sys.executable, "-m", "dagster", "job", "launch", "-f", "project.py", "-j", job],
            cwd=project, capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
        assert launched.returncode == 0, launched.stderr[-3000:]
        with dg.DagsterInstance.get() as instance:
            (run,) = instance.get_runs(dg.RunsFilter(job_name=job))
            if job == "long_job":
                _until((project / "dagster" / "begun").exists)
                assert instance.run_launcher.check_run_worker_health(run).status.name == "RUNNING"
                assert instance.run_launcher.terminate(run.run_id)
            _until(lambda run_id=run.run_id: instance.get_run_by_id(run_id).is_finished)
            assert instance.get_run_by_id(run.run_id).status is wanted
    assert api.artifact("second").get("output") == 2


def _until(condition: Any, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
