"""A store, an instance and a way to materialize, all in temporary folders."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from windlass_testkit.servers import Running, free_port, shared, start, stop, wait_for_port
from windlass_testkit.services import add_service, program, require
from windlass_testkit.waiting import eventually

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "examples" / "dagster-digits"

add_service("dagster", lambda: "" if importlib.util.find_spec("dagster") else "dagster is not installed")
add_service(
    "dagster-webserver",
    lambda: "" if importlib.util.find_spec("dagster_webserver") else "dagster-webserver is not installed",
)
add_service("chromium", lambda: "" if program("chromium") else "no program chromium here")
add_service("dg", lambda: "" if importlib.util.find_spec("dagster_dg_cli") else "dagster-dg-cli is not installed")
add_service("skl2onnx", lambda: "" if _all("skl2onnx", "onnxruntime", "sklearn") else "skl2onnx is not installed")

if importlib.util.find_spec("dagster") is None:
    collect_ignore_glob = [name.name for name in HERE.glob("test_*.py") if name.name != "test_installed.py"]


def _all(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Dagster warns of its own beta features and of what the samples use that it will drop."""
    for item in items:
        if HERE in Path(item.path).parents:
            for rule in (
                "ignore::DeprecationWarning",
                "ignore:.*(beta|preview|deprecated|superseded).*",
                "ignore::ResourceWarning",
            ):
                item.add_marker(pytest.mark.filterwarnings(rule))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Local state of Windlass and Dagster; the working directory is an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WINDLASS_ENTITY", "my_entity")
    monkeypatch.setenv("WINDLASS_API_KEY", "key-of-nobody")
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    for name in ("WINDLASS_BASE_URL", "WINDLASS_PROJECT", "WINDLASS_RUN_ID", "WINDLASS_LAUNCH", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "home"
    windlass = sys.modules.get("windlass")
    if windlass is not None and windlass.run is not None:
        windlass.run.finish()


@pytest.fixture
def instance() -> Iterator[Any]:
    """An instance of Dagster in memory."""
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def api(home: Path) -> Iterator[Any]:
    """The store, seen by somebody else."""
    import windlass

    found = windlass.Api(windlass.Settings(entity="my_entity", project="my_project"))
    yield found
    found.close()


@pytest.fixture
def manager(tmp_path: Path) -> Any:
    """The IO manager as the documentation shows it first."""
    from dagster_windlass import WindlassArtifactsIOManager, WindlassResource

    return WindlassArtifactsIOManager(
        windlass=WindlassResource(entity="my_entity", project="my_project"), base_dir=str(tmp_path / "base")
    )


Run = Callable[..., Any]


@pytest.fixture
def run(instance: Any, manager: Any) -> Run:
    """Materialize assets; values by asset name are ``result.asset_value`` or ``output_for_node``."""
    import dagster as dg

    def materialize(*assets: Any, resources: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        given = {"io_manager": manager, "windlass_artifacts_manager": manager, **(resources or {})}
        return dg.materialize(list(assets), resources=given, instance=instance, **kwargs)

    return materialize


# -- the pages: a real webserver and daemon, with an agent beside them


@frozen(kw_only=True)
class Pages:
    """What a browser can do with ``projects/long_work.py`` under ``dagster dev``.

    Attributes:
        ask: Gives the answer to a question in GraphQL; keywords are its variables.
        port: Of the webserver.
        code: Port of the code server of the project.
        folder: Everything lies here; ``begun/<name>`` holds the process id of work that has begun.
    """

    ask: Callable[..., Any]
    port: int
    code: int
    folder: Path

    def store(self) -> Any:
        """A `windlass.Api` of the project's store."""
        import windlass

        return windlass.Api(windlass.Settings(entity="my_entity", project="my_project"))

    def launch(self, job: str, config: Any = None) -> str:
        """Launch a job of ``projects/long_work.py`` as the launchpad does; returns the id of the Dagster run."""
        return self._launch({"repositoryLocationName": "long_work", "jobName": job}, config, {})

    def materialize(self, location: str, *assets: str, tags: dict[str, str] | None = None) -> str:
        """Materialize assets in one process, as the asset graph does; returns the id of the Dagster run."""
        chosen = {
            "repositoryLocationName": location,
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
        }
        return self._launch(chosen, {"execution": {"config": {"in_process": {}}}}, tags or {})

    def _launch(self, selector: dict[str, Any], config: Any, tags: dict[str, str]) -> str:
        answer = self.ask(
            "mutation($p: ExecutionParams!){launchRun(executionParams: $p){__typename ... on LaunchRunSuccess"
            "{run{runId}} ... on PythonError{message} ... on RunConfigValidationInvalid{errors{message}}}}",
            p={
                "selector": {"repositoryName": "__repository__", **selector},
                "runConfigData": config or {},
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            },
        )["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def terminate(self, run_id: str, policy: str = "SAFE_TERMINATE") -> None:
        """As the button does."""
        answer = self.ask(
            "mutation($id: String!, $how: TerminateRunPolicy){terminateRun(runId: $id, terminatePolicy: $how)"
            "{__typename ... on TerminateRunFailure{message}}}",
            id=run_id, how=policy,
        )  # fmt: skip
        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer

    def until_it_is(self, status: str, run_id: str) -> None:
        """Wait for the status of a Dagster run."""
        query = "query($id: ID!){runOrError(runId: $id){... on Run{status}}}"

        def is_over() -> str:
            found = str(self.ask(query, id=run_id)["runOrError"]["status"])
            return found if found in (status, "SUCCESS", "FAILURE", "CANCELED") else ""

        assert eventually(is_over, 120) == status

    def switch_on(self, location: str, sensor: str) -> None:
        """Start a sensor."""
        answer = self.ask(
            "mutation($s: SensorSelector!){startSensor(sensorSelector: $s){__typename}}",
            s={"repositoryLocationName": location, "repositoryName": "__repository__", "sensorName": sensor},
        )
        assert answer["startSensor"]["__typename"] == "Sensor", answer

    def process_of(self, name: str) -> int:
        """Process id of the work of that name, when it has begun."""
        file = self.folder / "begun" / name
        return int(eventually(lambda: file.exists() and file.read_text(), 90))


def _clean_environment(folder: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WINDLASS_", "DAGSTER_"))}
    return {
        **clean,
        "WINDLASS_HOME": str(folder / "home"),
        "WINDLASS_ENTITY": "my_entity",
        "WINDLASS_ARTIFACT_DIR": str(folder / "artifacts"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "DAGSTER_HOME": str(folder / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONPATH": str(EXAMPLE),
    }


def _start_pages() -> Running:
    import dagster as dg

    from dagster_windlass.client import WindlassClient
    from windlass.models.queue import Queue

    folder = Path(tempfile.mkdtemp(prefix="windlass-dagster-"))
    (folder / "begun").mkdir()
    (folder / "dagster").mkdir()
    (folder / "dagster" / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nnux: {enabled: false}\n"
        "run_coordinator:\n  module: dagster.core.run_coordinator\n  class: QueuedRunCoordinator\n"
        "  config: {dequeue_interval_seconds: 1}\n"
    )
    with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
        instance.get_runs(limit=1)  # several processes that make the tables at the same time disturb each other
    port, code = free_port(), free_port()
    (folder / "workspace.yaml").write_text(
        f"load_from:\n- grpc_server: {{host: 127.0.0.1, port: {code}, location_name: long_work}}\n"
        "- python_module: {module_name: dagster_digits.definitions, location_name: digits}\n"
    )
    client = WindlassClient.open(entity="my_entity", project="my_project", home=str(folder / "home"))
    for name in ("work", "of_the_op"):
        client.store.queues.create(
            Queue(entity="my_entity", name=name, resource="process", open_fields=("env", "resource_args"))
        )
    client.close()
    address = ["-h", "127.0.0.1", "-p"]
    modules = [
        ["dagster", "dev", "-w", str(folder / "workspace.yaml"), *address, str(port)],
        ["dagster", "api", "grpc", "-f", str(HERE / "projects" / "long_work.py"), *address, str(code)],
        ["windlass_cli", "launch-agent", "-q", "work", "-j", "8"],
    ]
    commands = json.dumps([[sys.executable, "-m", *module] for module in modules])
    pid = start(
        [sys.executable, str(HERE / "projects" / "serve.py"), commands],
        log=folder / "log",
        env=_clean_environment(folder),
    )
    try:
        wait_for_port(port, pid=pid, log=folder / "log", timeout=180)
    except BaseException:
        stop(pid)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Running(pid=pid, folder=str(folder), facts={"port": port, "code": code})


@pytest.fixture(scope="session")
def dagster_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``dagster dev`` with an agent beside it, for all tests of the session."""
    require("dagster-webserver")
    with shared(tmp_path_factory, "dagster-dev", _start_pages) as running:
        yield running


@pytest.fixture
def pages(dagster_dev: Running, home: Path, monkeypatch: pytest.MonkeyPatch) -> Pages:
    """The pages; this process uses the same stores as they do."""
    folder, port = Path(dagster_dev.folder), dagster_dev.facts["port"]
    monkeypatch.setenv("WINDLASS_HOME", str(folder / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))

    def ask(query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    return Pages(ask=ask, folder=folder, **dagster_dev.facts)
