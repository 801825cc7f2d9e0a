"""The pages about Dagster: their blocks are run, as one module that a reader would put together."""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.observe import observe

import windlass
from dagster_windlass.client import WindlassClient
from dagster_windlass.launch.waiting import WorkingAgent
from dagster_windlass.names import artifact_name
from windlass.models.queue import Queue

PAGES = Path(__file__).parents[3] / "docs" / "how-to"
pytestmark = pytest.mark.timeout(600)
COLORS = dg.StaticPartitionsDefinition(["orange", "blue", "green"])


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Language, note and text of the blocks that are meant to be run."""
    text = (PAGES / page).read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w+)[ \t]*([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if not found[2].startswith("not-run:"):
            yield found[1], found[2], found[3]


def module(page: str) -> tuple[dict[str, Any], list[Any]]:
    """What the Python blocks of a page define, one after the other, and the documents in its YAML blocks."""
    names: dict[str, Any] = {}
    documents: list[Any] = []
    for language, note, text in blocks(page):
        if note.startswith("file="):
            path = Path(note.removeprefix("file="))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif language == "python":
            exec(compile(text, page, "exec"), names)
        else:
            assert language == "yaml", language
            documents += yaml.safe_load_all(text)
    return names, documents


@pytest.fixture(autouse=True)
def team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDLASS_ENTITY", "team")
    monkeypatch.setenv("WINDLASS_PROJECT", "demo")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


@pytest.fixture
def reads(instance: dg.DagsterInstance) -> Any:
    def materialize(names: dict[str, Any], *assets: Any, **more: Any) -> Any:
        return dg.materialize(list(assets), resources=names["defs"].resources, instance=instance, **more)

    return materialize


def test_values(reads: Any, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    names, documents = module("dagster.md")
    done = reads(names, names["numbers"], names["total"], names["trained"])
    assert (done.output_for_node("total"), done.output_for_node("trained")) == (6, 6)
    with windlass.Api() as api:
        assert "raw" in api.artifact("numbers").aliases
        assert api.run(done.run_id).summary["loss"] == 0.1
        check_partitions(names, reads, api)
        check_outside(names, instance, api)
    check_components(documents, tmp_path)


def check_partitions(names: dict[str, Any], reads: Any, api: windlass.Api) -> None:
    days = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-03"}
    assert reads(names, names["features"], tags=days).success
    assert api.artifact("features.2026-01-02").get("output") == ["2026-01-02", 10]

    @dg.asset(partitions_def=COLORS)
    def colors(context):
        made = windlass.Artifact("colors", "dataset")
        for name in ("default_table", "custom_table"):
            made.add(windlass.Table(columns=[name, str(context.run_id)], data=[[1, 2]]), name)
        return made

    for color in COLORS.get_partition_keys():
        assert reads(names, colors, partition_key=color).success
    api.artifact("colors.blue").add_aliases("approved")
    assert reads(names, colors, partition_key="orange").success  # v1, which is not read
    first = {color: api.artifact(f"colors.{color}:v0").get("default_table").columns for color in ("orange", "green")}
    found = reads(names, colors, names["chosen"], selection=[names["chosen"]]).output_for_node("chosen")
    assert (found["orange"], found["green"]) == (first["orange"], first["green"])
    assert found["blue"][0] == "custom_table"


def check_outside(names: dict[str, Any], instance: dg.DagsterInstance, api: windlass.Api) -> None:
    outside: dg.Definitions = names["outside"]
    with windlass.init() as run:
        run.log_artifact(["cat"], name="labels", type="dataset", serializer="json", aliases=["approved"])
        run.log_artifact(["a.png"], name="pictures", type="dataset", serializer="json")
    (observed,) = [asset for asset in outside.assets or () if isinstance(asset, dg.SourceAsset)]
    assert observe([observed], resources=outside.resources, instance=instance).success
    (sensor,) = outside.sensors or ()
    resources = {"windlass": names["store"]}
    with dg.build_sensor_context(instance=instance, definitions=outside, resources=resources) as context:
        ticked = sensor.evaluate_tick(context)
    assert [request.run_key for request in ticked.run_requests or ()] == ["team/demo/labels:v0"]
    everything = [*(outside.assets or ()), *(outside.asset_checks or ())]
    done = dg.materialize(everything, resources=outside.resources, instance=instance, raise_on_error=False)
    passed = {check.check_name: check.passed for check in done.get_asset_check_evaluations()}
    assert passed == {"windlass_integrity": True, "windlass_alias_approved": False, "windlass_signature": False}
    assert api.artifact("model").version == "v0"


def check_components(documents: list[Any], tmp_path: Path) -> None:
    """The documents of the YAML block make definitions, in a project with that one file."""
    package = tmp_path / "components" / "src" / "documented"
    (package / "defs" / "all").mkdir(parents=True)
    (tmp_path / "components" / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "documented"\n'
    )
    for name in ("__init__.py", "defs/__init__.py"):
        (package / name).write_text("")
    (package / "defs" / "all" / "defs.yaml").write_text(yaml.safe_dump_all(documents))
    sys.path.insert(0, str(package.parent))
    try:
        made = dg.load_from_defs_folder(path_within_project=package)
    except TypeError:  # Dagster 1.11
        made = dg.load_from_defs_folder(project_root=package.parents[1])
    finally:
        sys.path.remove(str(package.parent))
        for name in [name for name in sys.modules if name.split(".")[0] == "documented"]:
            del sys.modules[name]
    repository = made.get_repository_def()
    assert {key.to_user_string() for key in repository.assets_defs_by_key} == {"labels", "models/digits"}
    assert set(repository.get_top_level_resources()) == {"windlass", "io_manager"}


TRAIN = """
    import windlass
    with windlass.init() as run:
        artifact = windlass.Artifact(run.config.get("dagster", {}).get("asset_key", "made-by-the-op"), "model")
        with artifact.new_file("weights") as file:
            file.write("w")
        run.log_artifact(artifact)
"""


def test_launches(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    names, (run_config, dagster_yaml) = module("dagster-launch.md")
    Path("train/train.py").write_text(textwrap.dedent(TRAIN))
    Path("train/requirements.txt").write_text("")
    client = WindlassClient.open(entity="team", project="demo")
    for name in ("gpu", "steps", "dagster"):
        client.store.queues.create(Queue(entity="team", name=name, resource="process", open_fields=("env",)))
    with WorkingAgent(client, queues=("gpu",), entity="team", max_jobs=2) as work:
        done = names["training"].execute_in_process(run_config=run_config, instance=instance)
        assert done.output_for_node("train")["artifacts"] == ["team/demo/made-by-the-op:v0"]
        store = names["PipesWindlassClient"](client)
        resources = {"windlass": client, "pipes": store}
        assets = [dg.AssetSpec("features"), names["model"], names["piped"]]
        made = dg.materialize(assets, resources=resources, instance=instance)
    client.close()
    assert work.error is None
    (event,) = made.asset_materializations_for_node("model")
    assert event.metadata["windlass_artifact_name"].value == artifact_name(["model"])
    (event,) = made.asset_materializations_for_node("piped")
    assert event.metadata["epochs"].value == 5
    assert names["defs"].executor.name == "windlass"
    folder = tmp_path / "dagster-home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(yaml.safe_dump(dagster_yaml))
    with dg.DagsterInstance.from_config(str(folder)) as found:
        assert type(found.run_launcher).__name__ == "WindlassRunLauncher"
