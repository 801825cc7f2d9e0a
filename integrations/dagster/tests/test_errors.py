"""Every way to go wrong has one clear error with a stable code, and nothing is silent."""

import logging
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import windlass
from dagster_windlass import (
    PartitionedOutput,
    WindlassArtifactConfiguration,
    WindlassArtifactsIOManager,
    WindlassArtifactsIOManagerError,
    windlass_artifacts_io_manager,
    windlass_resource,
)
from dagster_windlass.config import CONFIGURATION_KEY
from dagster_windlass.errors import CODES
from dagster_windlass.validation import main, validate_definitions
from windlass.errors import UsageError

COLORS = dg.StaticPartitionsDefinition(["red", "blue"])


def made(**configuration: Any) -> dict[str, Any]:
    return {CONFIGURATION_KEY: configuration}


def refused(run: Any, *assets: Any, **kwargs: Any) -> WindlassArtifactsIOManagerError:
    with pytest.raises(WindlassArtifactsIOManagerError) as caught:
        run(*assets, **kwargs)
    error = caught.value
    assert error.code in CODES
    assert f"[{error.code}]" in str(error)
    return error


def written(run: Any, value: Any, **configuration: Any) -> WindlassArtifactsIOManagerError:
    @dg.asset(metadata=made(**configuration))
    def thing():
        return value() if callable(value) else value

    return refused(run, thing)


def op_written(run: Any, manager: Any, value: Any, **configuration: Any) -> WindlassArtifactsIOManagerError:
    @dg.op(out=dg.Out(metadata=made(**configuration)))
    def work():
        return value

    @dg.job(resource_defs={"io_manager": manager})
    def some_job():
        work()

    with pytest.raises(WindlassArtifactsIOManagerError) as caught:
        some_job.execute_in_process()
    return caught.value


def warnings_of(instance: dg.DagsterInstance, done: Any) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(done.run_id) if entry.level == logging.WARNING)


# -- writing


def test_e1_several_partitions(run: Any, api: windlass.Api) -> None:
    @dg.asset(partitions_def=COLORS, backfill_policy=dg.BackfillPolicy.single_run())
    def colors(context):
        return 1

    tags = {"dagster/asset_partition_range_start": "red", "dagster/asset_partition_range_end": "blue"}
    error = refused(run, colors, tags=tags)
    assert error.code == "several-partitions"
    assert "PartitionedOutput" in error.hint
    assert not api.artifact_collections()


@pytest.mark.parametrize(
    ("values", "code"),
    [({"red": 1}, "partition-missing"), ({"red": 1, "blue": 2, "green": 3}, "partition-not-in-run")],
)
def test_partitions_that_do_not_fit(run: Any, values: dict[str, int], code: str) -> None:
    @dg.asset(partitions_def=COLORS, backfill_policy=dg.BackfillPolicy.single_run())
    def colors(context):
        return PartitionedOutput(values)

    tags = {"dagster/asset_partition_range_start": "red", "dagster/asset_partition_range_end": "blue"}
    assert refused(run, colors, tags=tags).code == code


def test_partitioned_output_without_partitions(run: Any) -> None:
    assert written(run, PartitionedOutput({"red": 1}), type="dataset").code == "partition-not-in-run"


@pytest.mark.parametrize("key", ["typ", "version", "get"])
def test_e2_unknown_key(run: Any, key: str) -> None:
    error = written(run, 1, **{key: "v0"})
    assert error.code == "unknown-write-key"
    if key == "typ":
        assert "'type'" in error.hint


def test_e3_unknown_serializer(run: Any) -> None:
    error = written(run, 1, serialization_module={"name": "pickel"})
    assert error.code == "unknown-serializer"
    assert "'pickle'" in error.message


def test_e4_e5_artifact_with_name_and_type(run: Any, manager: Any) -> None:
    artifact = windlass.Artifact("mine", "dataset")
    assert op_written(run, manager, artifact, name="other").code == "artifact-name-given"
    assert written(run, artifact, type="dataset").code == "artifact-type-given"


def test_e6_artifact_without_name() -> None:
    """An Artifact cannot be made without a name at all."""
    with pytest.raises(UsageError):
        windlass.Artifact("", "dataset")


def test_e7_description_twice(run: Any) -> None:
    artifact = windlass.Artifact("thing", "dataset", description="mine")
    assert written(run, artifact, description="other").code == "description-twice"


def test_e8_name_of_asset(run: Any) -> None:
    assert written(run, 1, name="other").code == "name-of-asset"


def test_e9_op_without_name(run: Any, manager: Any) -> None:
    assert op_written(run, manager, 1).code == "output-without-name"


def test_e10_serializer_not_installed(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass.errors import PluginImportError
    from windlass.plugins.app import App

    def broken(self: App, name: str, parameters: Any = None) -> Any:
        raise PluginImportError("no module named dill", hint="pip install dill")

    monkeypatch.setattr(App, "create_serializer", broken)
    error = written(run, 1, serialization_module={"name": "dill"})
    assert error.code == "serializer-not-installed"
    assert "no module named dill" in str(error)


def test_e11_serialization_failed(run: Any, api: windlass.Api) -> None:
    def value() -> Any:
        def generator():
            yield 1

        return generator

    error = written(run, lambda: value, type="x", serialization_module={"name": "pickle"})
    assert error.code == "serialization-failed"
    assert "cloudpickle" in error.hint
    assert not api.artifact_collections()


@pytest.mark.parametrize(
    ("configuration", "text"),
    [
        ({"add_files": [{"local_path": "nowhere.txt"}]}, "nowhere.txt"),
        ({"add_dirs": [{"local_path": "nowhere"}]}, "nowhere"),
        ({"type": "a/b"}, "a/b"),
        ({"aliases": ["v3"]}, "v3"),
        ({"add_references": [{"uri": "file:///nowhere/at/all"}]}, "nowhere/at/all"),
    ],
)
def test_e12_write_failed(run: Any, api: windlass.Api, configuration: dict[str, Any], text: str) -> None:
    error = written(run, 1, **configuration)
    assert error.code == "write-failed"
    assert text in str(error)
    assert not api.artifact_collections()


def test_e12_wrong_parameter(run: Any) -> None:
    error = written(run, 1, add_files=[{"local_path": "x", "nmae": "y"}])
    assert error.code == "bad-configuration"
    assert "name" in str(error)


def test_w1_none_is_warned_of(run: Any, api: windlass.Api, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def nothing():
        return None

    done = run(nothing)
    assert done.success
    assert "is None: no artifact is made" in warnings_of(instance, done)
    assert not api.artifact_collections()


def test_w2_other_name(run: Any, api: windlass.Api, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def mine():
        return artifact

    artifact = windlass.Artifact("theirs", "dataset", metadata={"a": 1})
    assert "'theirs' is stored as 'mine'" in warnings_of(instance, run(mine))
    assert [c.name for c in api.artifact_collections()] == ["mine"]
    assert (artifact.name, artifact.metadata, artifact.logged) == ("theirs", {"a": 1}, False)


@pytest.mark.parametrize("kind", ["artifact", "table"])
def test_w3_w4_serializer_of_what_needs_none(
    run: Any, api: windlass.Api, instance: dg.DagsterInstance, kind: str
) -> None:
    table = windlass.Table(columns=["a"], data=[[1]])

    @dg.asset(metadata=made(serialization_module={"name": "pickle"}))
    def mine():
        if kind == "table":
            return table
        artifact = windlass.Artifact("mine", "dataset")
        artifact.add(table, "Table")
        return artifact

    assert "serialization_module is ignored" in warnings_of(instance, run(mine))
    assert api.artifact("mine").get("Table").columns == ["a"]


# -- reading


def read(run: Any, configuration: dict[str, Any], *, partitioned: bool = False, **kwargs: Any) -> Any:
    partitions = COLORS if partitioned else None

    @dg.asset(partitions_def=partitions)
    def up():
        artifact = windlass.Artifact("up", "dataset")
        artifact.add(windlass.Table(columns=["a"], data=[[1]]), "table")
        return artifact

    @dg.asset(ins={"up": dg.AssetIn(metadata={CONFIGURATION_KEY: configuration})})
    def down(up):
        return 1

    for color in COLORS.get_partition_keys() if partitioned else [None]:
        run(up, partition_key=color)
    return refused(run, up, down, selection=[down], **kwargs)


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ({"type": "dataset"}, "unknown-read-key"),
        ({"getpath": "x"}, "unknown-read-key"),
        ({"partitions": {"*": {"get": "x"}}}, "partitions-not-expected"),
        ({"name": "x"}, "name-of-asset-input"),
        ({"version": "v0", "alias": "latest"}, "version-and-alias"),
        ({"get": "x", "get_path": "y"}, "get-and-path"),
        ({"get": "no_such_table"}, "entry-not-found"),
        ({"get_path": "no_such_file"}, "entry-not-found"),
        ({"version": "v7"}, "artifact-not-found"),
        ({"alias": "best"}, "artifact-not-found"),
    ],
)
def test_e20_to_e33_reading(run: Any, configuration: dict[str, Any], code: str) -> None:
    error = read(run, configuration)
    assert error.code == code
    if code == "entry-not-found":
        assert "table.table.json" in error.hint


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ({"get": "table"}, "partitions-expected"),
        ({"get_path": "x"}, "partitions-expected"),
        ({"version": "v0"}, "partitions-expected"),
        ({"alias": "x"}, "partitions-expected"),
        ({"name": "x"}, "name-of-asset-input"),
        ({"partitions": {"red": {}}}, "partition-empty"),
        ({"partitions": {"red": {"gett": "x"}}}, "partition-unknown-key"),
        ({"partitions": {"green": {"get": "x"}}}, "partition-unknown"),
        ({"partitions": {"red": {"version": "v0", "alias": "x"}}}, "partition-version-and-alias"),
        ({"partitions": {"red": {"get": "x", "get_path": "y"}}}, "partition-get-and-path"),
        ({"partitions": {"red": {"version": "v7"}}}, "partition-not-found"),
        ({"partitions": {"*": {"get": "no_such_table"}}}, "entry-not-found"),
    ],
)
def test_e21_to_e27_reading_partitions(run: Any, configuration: dict[str, Any], code: str) -> None:
    error = read(run, configuration, partitioned=True)
    assert error.code == code
    if code == "partition-version-and-alias":
        assert error.partition == "red"
        assert "{key}" not in str(error)


def test_e26_partition_not_found(run: Any) -> None:
    @dg.asset(partitions_def=COLORS)
    def up():
        return 1

    @dg.asset
    def down(up):
        return 1

    assert run(up, partition_key="red").success
    error = refused(run, up, down, selection=[down])
    assert (error.code, error.partition, error.asset_key) == ("partition-not-found", "blue", "up")
    assert "up.red" in error.hint


def test_e29_op_input_without_name(manager: Any) -> None:
    @dg.op(out=dg.Out(io_manager_key="other"))
    def first():
        return 1

    @dg.op(ins={"x": dg.In(input_manager_key="io_manager")})
    def second(x):
        return dg.Output(1)

    @dg.job(resource_defs={"io_manager": manager, "other": dg.mem_io_manager})
    def some_job():
        second(first())

    with pytest.raises(WindlassArtifactsIOManagerError) as caught:
        some_job.execute_in_process()
    assert caught.value.code == "input-without-name"


def test_e32_reading_without_the_serializer(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass.errors import PluginNotFoundError
    from windlass.plugins.app import App

    @dg.asset(metadata=made(serialization_module={"name": "dill"}))
    def up():
        return 1

    @dg.asset
    def down(up):
        return 1

    assert run(up).success

    def broken(self: App, name: str, parameters: Any = None) -> Any:
        raise PluginNotFoundError(f"no serializer '{name}'", hint="pip install windlass-serializer-dill")

    monkeypatch.setattr(App, "create_serializer", broken)
    error = refused(run, up, down, selection=[down])
    assert error.code == "serializer-not-installed"
    assert "dill" in str(error)


def test_e33_damaged_bytes(run: Any, home: Path) -> None:
    @dg.asset
    def up():
        return "x" * 5000

    @dg.asset
    def down(up):
        return 1

    assert run(up).success
    for file in (home / "blobs").rglob("*"):
        if file.is_file() and file.stat().st_size > 4000:
            file.chmod(0o644)
            file.write_bytes(b"y" * file.stat().st_size)
    error = refused(run, up, down, selection=[down])
    assert error.code == "read-failed"
    assert isinstance(error.__cause__, Exception)


def test_e33_nothing_there(run: Any) -> None:
    @dg.asset
    def other():
        return 1

    @dg.asset
    def down(gone):
        return 1

    assert run(other).success
    error = refused(run, dg.AssetSpec("gone"), down, selection=[down])
    assert error.code == "artifact-not-found"
    assert "other" in error.hint


# -- options


def test_e41_unknown_option() -> None:
    with pytest.raises(WindlassArtifactsIOManagerError) as caught:
        WindlassArtifactsIOManager(base_dri="x")
    assert caught.value.code == "unknown-option"
    assert "'base_dir'" in caught.value.hint


def test_e41_unknown_option_of_the_older_form() -> None:
    @dg.op
    def work():
        pass

    @dg.job(
        resource_defs={
            "io_manager": windlass_artifacts_io_manager.configured({"base_dri": "x"}),
            "windlass_resource": windlass_resource,
            "windlass_config": dg.make_values_resource(entity=str, project=str),
        }
    )
    def some_job():
        work()

    with pytest.raises(dg.DagsterInvalidConfigError, match="base_dri"):
        some_job.execute_in_process(
            run_config={"resources": {"windlass_config": {"config": {"entity": "e", "project": "p"}}}}
        )


def test_negative_cache_duration() -> None:
    with pytest.raises(ValueError, match="cache_duration"):
        WindlassArtifactsIOManager(cache_duration_in_minutes=-1)


def test_outer_key_misspelt(run: Any) -> None:
    @dg.asset(metadata={"windlass_artifact_config": {"type": "dataset"}})
    def thing():
        return 1

    error = refused(run, thing)
    assert error.code == "unknown-metadata-key"
    assert CONFIGURATION_KEY in error.hint


# -- at definition time


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"tpye": "dataset"}, "unknown-write-key"),
        ({"aliases": {"latest": 1}}, "bad-configuration"),
        ({"serialization_module": {"name": "pickel"}}, "unknown-serializer"),
        ({"serialization_module": {"name": "pickle", "parameters": {"protocl": 4}}}, "bad-configuration"),
        ({"version": "v0", "alias": "x"}, "version-and-alias"),
        ({"get": "x", "get_path": "y"}, "get-and-path"),
        ({"partitions": {"a": {}}}, "partition-empty"),
        ({"partitions": {"a": {"gett": ""}}}, "partition-unknown-key"),
        ({"add_files": [{"name": "x"}]}, "bad-configuration"),
    ],
)
def test_typed_configuration_is_checked_when_it_is_made(values: dict[str, Any], code: str) -> None:
    with pytest.raises(WindlassArtifactsIOManagerError) as caught:
        WindlassArtifactConfiguration(**values)
    assert caught.value.code == code
    if "tpye" in values:
        assert "Did you mean 'type'?" in str(caught.value)


def test_validate_definitions(manager: Any) -> None:
    @dg.asset(metadata=made(tpye="dataset"))
    def one():
        return 1

    @dg.asset(ins={"one": dg.AssetIn(metadata=made(version="v0", alias="x"))})
    def two(one):
        return 1

    with pytest.raises(WindlassArtifactsIOManagerError) as caught:
        validate_definitions(dg.Definitions(assets=[one, two], resources={"io_manager": manager}))
    text = str(caught.value)
    assert "'type'" in text
    assert "version" in text
    good = dg.Definitions(assets=[dg.AssetSpec("x")], resources={"io_manager": manager})
    assert validate_definitions(good) is good


def test_the_command_that_checks_a_project(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "import dagster as dg\n@dg.asset(metadata={'windlass_artifact_configuration': {'tpye': 'dataset'}})\n"
        "def one():\n    return 1\ndefs = dg.Definitions(assets=[one])\n"
    )
    Path("bad_project.py").write_text(text)
    Path("good_project.py").write_text(text.replace("tpye", "type"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["-m", "bad_project"]) == 1
    assert "Did you mean 'type'?" in capsys.readouterr().err
    assert main(["-m", "good_project"]) == 0


def test_a_step_with_inputs_is_not_computed_with_a_bad_output(run: Any) -> None:
    """Also where nobody has checked the definitions: loading the first input looks at the outputs."""
    ran: list[str] = []

    @dg.asset
    def up():
        return 1

    @dg.asset(metadata=made(tpye="dataset"))
    def down(up):
        ran.append("down")
        return up

    error = refused(run, up, down)
    assert (error.code, ran) == ("unknown-write-key", [])
    assert "'type'" in error.hint


def test_errors_travel() -> None:
    error = WindlassArtifactsIOManagerError("m", code="read-failed", asset_key="a", partition="p", hint="h")
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.asset_key, again.partition, again.hint) == ("read-failed", "a", "p", "h")


def test_codes_are_the_documented_ones() -> None:
    source = Path(__file__).parents[1] / "src/dagster_windlass"
    used: set[str] = set()
    for path in source.rglob("*.py"):
        used |= set(re.findall(r'code="([a-z-]+)"', path.read_text()))
    used -= {"dagster-step-failed"}  # reason of a run, not an error
    assert used <= set(CODES), used - set(CODES)
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert not [code for code in CODES if f'"{code}"' not in tests], "every code has a test"
