"""Steps in threads, in processes, many at once, and killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import windlass
from dagster_windlass import WindlassArtifactsIOManager, WindlassResource

PROJECT = """
import sys
import dagster as dg
from dagster_windlass import WindlassArtifactsIOManager, WindlassResource

WIDTH = int(sys.argv[1]) if len(sys.argv) > 1 else 2
# Many processes fork from one that has imported all; few are started anew, which is Dagster's default.
MODULES = ["dagster", "dagster_windlass", "windlass_metastore_sql.store", "windlass.artifacts.engine"]
START = {"forkserver": {"preload_modules": MODULES}} if WIDTH > 2 else {"spawn": {}}

def part(number):
    @dg.asset(name=f"part_{number}")
    def made(first):
        return first + number
    return made

@dg.asset
def first():
    return 1

@dg.asset(ins={f"part_{n}": dg.AssetIn() for n in range(WIDTH)})
def total(**parts):
    return sum(parts.values())

def make_job():
    defs = dg.Definitions(
        assets=[first, *(part(n) for n in range(WIDTH)), total],
        jobs=[dg.define_asset_job("everything")],
        resources={
            "io_manager": WindlassArtifactsIOManager(
                windlass=WindlassResource(entity="my_entity", project="my_project"), cache_duration_in_minutes=0
            )
        },
        executor=dg.multiprocess_executor.configured({"max_concurrent": WIDTH, "start_method": START}),
    )
    return defs.resolve_job_def("everything")

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        done = dg.execute_job(dg.reconstructable(make_job), instance=instance, raise_on_error=True)
        assert done.success
        print(done.run_id)
"""


def run_processes(tmp_path: Path, width: int) -> str:
    (tmp_path / "project.py").write_text(PROJECT)
    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = subprocess.run(
        [sys.executable, "project.py", str(width)],
        cwd=tmp_path,
        env={**os.environ, "DAGSTER_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.split()[-1]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("width", [2, 20])
def test_processes(tmp_path: Path, api: windlass.Api, width: int) -> None:
    """All steps belong to one run, which ends when the last of them does."""
    run_id = run_processes(tmp_path, width)
    assert api.artifact("total").get("output") == sum(1 + n for n in range(width))
    (found,) = api.runs()
    assert (found.id, found.state) == (run_id, "finished")
    assert len(found.logged_artifacts()) == width + 2
    assert len(found.used_artifacts()) == width + 1


def test_twenty_at_once(tmp_path: Path, api: windlass.Api) -> None:
    def step(number: int) -> str:
        @dg.asset(name=f"asset_{number % 5}")
        def made():
            return number

        resource = WindlassResource(entity="my_entity", project="my_project")
        manager = WindlassArtifactsIOManager(windlass=resource, base_dir=str(tmp_path / "base"))
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize([made], resources={"io_manager": manager}, instance=instance).run_id

    with ThreadPoolExecutor(20) as pool:
        runs = set(pool.map(step, range(20)))
    assert len(runs) == 20
    collections = api.artifact_collections()
    assert [(c.name, c.versions) for c in collections] == [(f"asset_{n}", 4) for n in range(5)]
    assert {run.id for run in api.runs()} == runs


KILLED = """
import os, sys, time
import dagster as dg
from windlass.artifacts import manifest_writing
from dagster_windlass import WindlassArtifactsIOManager, WindlassResource

if sys.argv[1] == "hang":
    def hang(*_args, **_more):
        open("reached", "w").close()
        time.sleep(300)
    manifest_writing.write_manifest = hang

@dg.asset(metadata={"windlass_artifact_configuration": {"aliases": ["ready"]}})
def big():
    return os.urandom(1 << 20) if sys.argv[1] == "hang" else b"small"

manager = WindlassArtifactsIOManager(windlass=WindlassResource(entity="my_entity", project="my_project"))
with dg.DagsterInstance.ephemeral() as instance:
    dg.materialize([big], resources={"io_manager": manager}, instance=instance)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_while_writing(tmp_path: Path, api: windlass.Api) -> None:
    """Bytes are stored, the version is not: nothing of it is visible. The next step is not disturbed."""
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    process = subprocess.Popen([sys.executable, str(script), "hang"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not Path("reached").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert Path("reached").exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not api.artifact_collections()
    assert not api.artifact_exists("big:ready")
    subprocess.run([sys.executable, str(script), "go"], check=True, timeout=120, stderr=subprocess.DEVNULL)
    assert api.artifact("big:ready").version == "v0"
    assert api.artifact("big").get("output") == b"small"


def test_failed_step_fails_the_run(run: Any, api: windlass.Api) -> None:
    @dg.asset
    def fine():
        return 1

    @dg.asset
    def broken(fine):
        raise ValueError("no")

    assert not run(fine, broken, raise_on_error=False).success
    (found,) = api.runs()
    assert found.state == "failed"
    assert [a.name for a in found.logged_artifacts()] == ["fine"]


def test_run_of_the_user_is_left_alone(run: Any, api: windlass.Api) -> None:
    """A run that is open in the process gets nothing, and stays open."""

    @dg.asset
    def made():
        return 1

    mine = windlass.init(project="elsewhere")
    done = run(made)
    mine.log({"after": 1})
    assert windlass.run is mine
    mine.finish()
    assert [a.name for a in api.run(done.run_id).logged_artifacts()] == ["made"]
    assert not api.run(mine.id).logged_artifacts()
    assert api.run(mine.id).state == "finished"
