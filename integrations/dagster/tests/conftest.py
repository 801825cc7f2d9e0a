"""A store, an instance and a way to materialize, all in temporary folders."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass_testkit.services import add_service

HERE = Path(__file__).parent

add_service("dagster", lambda: "" if importlib.util.find_spec("dagster") else "dagster is not installed")
add_service(
    "dagster-webserver",
    lambda: "" if importlib.util.find_spec("dagster_webserver") else "dagster-webserver is not installed",
)
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
