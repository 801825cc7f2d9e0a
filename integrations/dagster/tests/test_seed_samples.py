# ruff: noqa: B007, G004, ICN001, N806, PT030 - the samples are as people have them
"""The samples that other tools' documentation has taught people, under our names: every one of them runs.

What differs from those texts, and why: an op takes no ``io_manager_key`` (Dagster raises TypeError), so the job's IO
manager is used; addresses on the internet are replaced by local ones.
"""

import random
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import (
    AssetIn,
    AssetKey,
    AssetOut,
    DailyPartitionsDefinition,
    In,
    OpExecutionContext,
    Out,
    SourceAsset,
    TimeWindowPartitionMapping,
    asset,
    job,
    make_values_resource,
    multi_asset,
    op,
    repository,
    with_resources,
)

import windlass
from dagster_windlass import WindlassArtifactConfiguration, windlass_artifacts_io_manager, windlass_resource

RESOURCES = {
    "windlass_config": make_values_resource(entity=str, project=str),
    "windlass_resource": windlass_resource.configured({"api_key": {"env": "WINDLASS_API_KEY"}}),
    "io_manager": windlass_artifacts_io_manager,
}
RUN_CONFIG = {"resources": {"windlass_config": {"config": {"entity": "my_entity", "project": "my_project"}}}}


@asset(
    name="my_artifact",
    metadata={
        "windlass_artifact_arguments": {
            "type": "dataset",
        }
    },
    io_manager_key="windlass_artifacts_manager",
)
def create_dataset_with_arguments():
    return [1, 2, 3]


@asset(
    name="my_artifact",
    metadata={
        "windlass_artifact_configuration": {
            "type": "dataset",
        }
    },
    io_manager_key="windlass_artifacts_manager",
)
def create_dataset():
    return [1, 2, 3]


@asset(
    name="my_asset",
    ins={
        "artifact": AssetIn(
            key="my_artifact",
            input_manager_key="windlass_artifacts_manager",
        )
    },
)
def read_artifact(context, artifact):
    context.log.info(artifact)
    return artifact


def test_job(instance: dg.DagsterInstance, api: windlass.Api) -> None:
    @op(out=Out(metadata={"windlass_artifact_configuration": {"name": "my_artifact", "type": "dataset"}}))
    def create():
        return [1, 2, 3]

    @op(ins={"artifact": In(metadata={"windlass_artifact_configuration": {"name": "my_artifact"}})})
    def read(context, artifact):
        assert artifact == [1, 2, 3]
        context.log.info(artifact)

    @job(resource_defs=RESOURCES)
    def simple_job_example():
        read(create())

    done = simple_job_example.execute_in_process(run_config=RUN_CONFIG, instance=instance)
    assert done.success
    found = api.artifact("my_artifact:latest")
    assert (found.type, found.get("output")) == ("dataset", [1, 2, 3])
    assert api.run(done.run_id).tags == ("dagster_windlass",)


def test_repository(instance: dg.DagsterInstance, api: windlass.Api) -> None:
    @repository
    def my_repository():
        return [
            *with_resources(
                [create_dataset, read_artifact],
                resource_defs={
                    "windlass_config": make_values_resource(entity=str, project=str),
                    "windlass_resource": windlass_resource.configured({"api_key": {"env": "WINDLASS_API_KEY"}}),
                    "windlass_artifacts_manager": windlass_artifacts_io_manager.configured(
                        {"cache_duration_in_minutes": 60}
                    ),
                },
                resource_config_by_key={
                    "windlass_config": {"config": {"entity": "my_entity", "project": "my_project"}}
                },
            ),
        ]

    implicit = my_repository.get_implicit_global_asset_job_def()
    assert implicit.execute_in_process(instance=instance).success
    assert api.artifact("my_artifact").type == "dataset"


def test_arguments_are_read_with_a_warning(run: Any, api: windlass.Api) -> None:
    with pytest.warns(UserWarning, match="windlass_artifact_configuration"):
        assert run(create_dataset_with_arguments).success
    assert api.artifact("my_artifact").type == "dataset"


def test_typed_object(run: Any, api: windlass.Api) -> None:
    @asset(
        name="my_artifact",
        metadata={"windlass_artifact_arguments": {"type": "dataset"}},
        io_manager_key="windlass_artifacts_manager",
    )
    def create_dataset_in_table():
        return windlass.Table(columns=["a", "b", "c"], data=[[1, 2, 3]])

    with pytest.warns(UserWarning):
        done = run(create_dataset_in_table)
    (event,) = done.asset_materializations_for_node("my_artifact")
    assert event.metadata["dagster/row_count"].value == 1
    assert [c.name for c in event.metadata["dagster/column_schema"].value.columns] == ["a", "b", "c"]
    assert api.artifact("my_artifact").get("Table").get_column("b") == [2]


def test_artifact_object(run: Any, api: windlass.Api) -> None:
    MY_ASSET = "my_asset"

    @asset(name=MY_ASSET, io_manager_key="windlass_artifacts_manager")
    def create_artifact():
        artifact = windlass.Artifact(MY_ASSET, "dataset")
        table = windlass.Table(columns=["a", "b", "c"], data=[[1, 2, 3]])
        artifact.add(table, "my_table")
        return artifact

    @asset(
        ins={
            "table": AssetIn(
                key=MY_ASSET,
                metadata={"windlass_artifact_configuration": {"get": "my_table"}},
                input_manager_key="windlass_artifacts_manager",
            )
        }
    )
    def get_table(context, table):
        context.log.info(table.get_column("a"))
        return table.get_column("a")

    done = run(create_artifact, get_table)
    assert done.output_for_node("get_table") == [1]
    facts = api.artifact("my_asset").metadata
    assert facts["source_integration"] == "dagster_windlass"
    assert facts["source_dagster_run_id"] == done.run_id
    assert facts["source_python_version"]


def test_multi_asset(run: Any, api: windlass.Api) -> None:
    @multi_asset(
        name="create_datasets",
        outs={
            "first_table": AssetOut(
                metadata={"windlass_artifact_configuration": {"type": "training_dataset"}},
                io_manager_key="windlass_artifacts_manager",
            ),
            "second_table": AssetOut(
                metadata={"windlass_artifact_configuration": {"type": "validation_dataset"}},
                io_manager_key="windlass_artifacts_manager",
            ),
        },
        group_name="my_multi_asset_group",
    )
    def create_datasets():
        first_table = windlass.Table(columns=["a", "b", "c"], data=[[1, 2, 3]])
        second_table = windlass.Table(columns=["d", "e"], data=[[4, 5]])
        return first_table, second_table

    assert run(create_datasets).success
    assert api.artifact("first_table").type == "training_dataset"
    assert api.artifact("second_table").get("Table").columns == ["d", "e"]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with an image."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "300").write_bytes(b"image")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_advanced(run: Any, api: windlass.Api, web: str, tmp_path: Path) -> None:
    bucket = tmp_path / "my-bucket" / "mnist"
    bucket.mkdir(parents=True)
    (bucket / "digits").write_text("0123")
    Path("path/to/directory").mkdir(parents=True)
    Path("path/to/directory/inside.txt").write_text("inside")
    Path("path/to/data.json").write_text("{}")
    Path("path/to/temp").write_text("temporary")

    @asset(
        name="my_advanced_artifact",
        metadata={
            "windlass_artifact_configuration": {
                "type": "dataset",
                "description": "My *Markdown* description",
                "aliases": ["my_first_alias", "my_second_alias"],
                "add_dirs": [{"name": "My directory", "local_path": "path/to/directory"}],
                "add_files": [
                    {"name": "validation_dataset", "local_path": "path/to/data.json"},
                    {"is_tmp": True, "local_path": "path/to/temp"},
                ],
                "add_references": [
                    {"uri": f"{web}/300", "name": "External HTTP reference to an image"},
                    {"uri": bucket.as_uri(), "name": "External S3 reference"},
                ],
            }
        },
        io_manager_key="windlass_artifacts_manager",
    )
    def create_advanced_artifact():
        return [1, 2, 3]

    done = run(create_advanced_artifact)
    found = api.artifact("my_advanced_artifact:my_second_alias")
    assert found.description == "My *Markdown* description"
    assert {"my_first_alias", "my_second_alias", "latest", f"dagster-run-{done.run_id[:8]}"} == set(found.aliases)
    paths = {entry.path for entry in found.entries()}
    assert {
        "My directory/inside.txt",
        "validation_dataset",
        "External HTTP reference to an image",
        "External S3 reference/digits",
    } < paths
    assert len(paths) == 6
    assert found.get("output") == [1, 2, 3]
    (event,) = done.asset_materializations_for_node("my_advanced_artifact")
    assert set(event.metadata) >= {
        "dagster_run_id",
        *(f"windlass_run_{x}" for x in ("id", "name", "path", "url")),
        *(f"windlass_artifact_{x}" for x in ("id", "name", "type", "version", "size", "url", "digest", "aliases")),
        "windlass_entity",
        "windlass_project",
    }
    assert event.metadata["windlass_run_name"].value == f"dagster-run-{done.run_id[:8]}"


def test_typed_configuration(run: Any, api: windlass.Api) -> None:
    chosen: WindlassArtifactConfiguration = WindlassArtifactConfiguration(type="dataset")

    @asset(metadata={"windlass_artifact_configuration": chosen})
    def typed():
        return 1

    assert run(typed).success
    assert api.artifact("typed").type == "dataset"


@asset(
    partitions_def=DailyPartitionsDefinition(start_date="2023-01-01", end_date="2023-02-01"),
    name="my_daily_partitioned_asset",
    compute_kind="windlass",
    metadata={"windlass_artifact_configuration": {"type": "dataset"}},
)
def create_my_daily_partitioned_asset(context):
    partition_key = context.asset_partition_key_for_output()
    context.log.info(f"Creating partitioned asset for {partition_key}")
    return random.randint(0, 100)


def test_partitions(run: Any, api: windlass.Api) -> None:
    @asset(compute_kind="windlass", ins={"my_daily_partitioned_asset": AssetIn()}, output_required=False)
    def read_all_partitions(context, my_daily_partitioned_asset):
        for partition, content in my_daily_partitioned_asset.items():
            context.log.info(f"partition={partition}, content={content}")
        read.update(my_daily_partitioned_asset)

    @asset(
        partitions_def=DailyPartitionsDefinition(start_date="2023-01-01", end_date="2023-02-01"),
        compute_kind="windlass",
        ins={
            "my_daily_partitioned_asset": AssetIn(partition_mapping=TimeWindowPartitionMapping(start_offset=-1)),
        },
        output_required=False,
    )
    def read_specific_partitions(context, my_daily_partitioned_asset):
        for partition, content in my_daily_partitioned_asset.items():
            context.log.info(f"partition={partition}, content={content}")
        read.update(my_daily_partitioned_asset)

    read: dict[str, Any] = {}
    days = create_my_daily_partitioned_asset.partitions_def.get_partition_keys()
    for day in days[:3]:
        assert run(create_my_daily_partitioned_asset, partition_key=day).success
    assert api.artifact("my_daily_partitioned_asset.2023-01-01").type == "dataset"
    both = (create_my_daily_partitioned_asset, read_specific_partitions)
    assert run(*both, selection=[both[1]], partition_key="2023-01-02").success
    assert sorted(read) == ["2023-01-01", "2023-01-02"]
    read.clear()  # on the first day there is no day before: still a dict
    assert run(*both, selection=[both[1]], partition_key="2023-01-01").success
    assert sorted(read) == ["2023-01-01"]
    read.clear()
    short = DailyPartitionsDefinition(start_date="2023-01-01", end_date="2023-01-04")
    upstream = dg.AssetSpec("my_daily_partitioned_asset", partitions_def=short)
    assert run(upstream, read_all_partitions, selection=[read_all_partitions]).success
    assert sorted(read) == days[:3]


def test_partition_configuration(run: Any, api: windlass.Api) -> None:
    colors = dg.StaticPartitionsDefinition(["red", "yellow", "orange", "blue"])

    @asset(partitions_def=colors, name="my_asset", metadata={"windlass_artifact_configuration": {"aliases": ["x"]}})
    def tables(context):
        artifact = windlass.Artifact("my_asset", "dataset")
        for name in ("default_table_name", "custom_table_name"):
            artifact.add(windlass.Table(columns=[name], data=[[context.partition_key], [count]]), name)
        return artifact

    @asset(
        ins={
            "my_asset": AssetIn(
                metadata={
                    "windlass_artifact_configuration": {
                        "partitions": {
                            "*": {"get": "default_table_name"},
                            "yellow": {"get": "custom_table_name"},
                            "orange": {"version": "v0"},
                            "blue": {"alias": "special_alias"},
                        }
                    }
                }
            )
        }
    )
    def read_partitions(my_asset):
        return {key: (table.columns[0], table.data[0][0], table.data[1][0]) for key, table in my_asset.items()}

    for count in (0, 1):
        for color in colors.get_partition_keys():
            assert run(tables, partition_key=color).success
    api.artifact("my_asset.blue:v0").add_aliases("special_alias")
    done = run(tables, read_partitions, selection=[read_partitions])
    assert done.output_for_node("read_partitions") == {
        "red": ("default_table_name", "red", 1),
        "yellow": ("custom_table_name", "yellow", 1),
        "orange": ("default_table_name", "orange", 0),
        "blue": ("default_table_name", "blue", 0),
    }


def test_source_asset(run: Any, api: windlass.Api) -> None:
    my_artifact = SourceAsset(
        key=AssetKey("my_artifact"),
        description="Artifact created outside Dagster",
        io_manager_key="windlass_artifacts_manager",
    )

    @asset
    def read_artifact(context, my_artifact):
        context.log.info(my_artifact)
        return Path(my_artifact.local_path, "file.txt").read_text()

    for text in ("old", "new"):
        Path("file.txt").write_text(text)
        with windlass.init(project="my_project") as elsewhere:
            artifact = windlass.Artifact("my_artifact", "dataset")
            artifact.add_file("file.txt")
            elsewhere.log_artifact(artifact)
    done = run(my_artifact, read_artifact, selection=[read_artifact])
    assert done.output_for_node("read_artifact") == "new"


def test_get_path(run: Any) -> None:
    @asset
    def my_artifact_with_file():
        artifact = windlass.Artifact("my_artifact_with_file", "dataset")
        with artifact.new_file("name_of_file") as file:
            file.write("text")
        return artifact

    @asset(
        ins={
            "path": AssetIn(
                key="my_artifact_with_file",
                metadata={"windlass_artifact_configuration": {"get_path": "name_of_file"}},
                input_manager_key="windlass_artifacts_manager",
            )
        }
    )
    def get_path(context, path):
        context.log.info(path)
        return Path(path).read_text()

    @asset(ins={"artifact": AssetIn(key="my_artifact_with_file", input_manager_key="windlass_artifacts_manager")})
    def get_artifact(context, artifact):
        context.log.info(artifact.name)
        return artifact.name

    done = run(my_artifact_with_file, get_path, get_artifact)
    assert done.output_for_node("get_path") == "text"
    assert done.output_for_node("get_artifact") == "my_artifact_with_file"


def test_joblib(run: Any) -> None:
    @asset(
        name="my_joblib_serialized_model",
        compute_kind="Python",
        metadata={"windlass_artifact_configuration": {"type": "model", "serialization_module": {"name": "joblib"}}},
        io_manager_key="windlass_artifacts_manager",
    )
    def create_model_serialized_with_joblib():
        return lambda x, y: x + y

    @asset(
        name="inference_result_from_joblib_serialized_model",
        compute_kind="Python",
        ins={"my_joblib_serialized_model": AssetIn(input_manager_key="windlass_artifacts_manager")},
        metadata={"windlass_artifact_configuration": {"type": "results"}},
        io_manager_key="windlass_artifacts_manager",
    )
    def use_model_serialized_with_joblib(context: OpExecutionContext, my_joblib_serialized_model):
        inference_result = my_joblib_serialized_model(1, 2)
        context.log.info(inference_result)
        return inference_result

    done = run(create_model_serialized_with_joblib, use_model_serialized_with_joblib)
    assert done.output_for_node("inference_result_from_joblib_serialized_model") == 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("pickle", {"protocol": 4}), ("dill", {}), ("cloudpickle", {}), ("joblib", {"compress": 3, "protocol": 4})],
)
def test_serialization_modules(run: Any, api: windlass.Api, name: str, parameters: dict[str, Any]) -> None:
    module = {"name": name, "parameters": parameters}

    @asset(metadata={"windlass_artifact_configuration": {"type": "model", "serialization_module": module}})
    def value():
        return {"a": [1, 2]}

    @asset
    def read(value):
        return value

    assert run(value, read).output_for_node("read") == {"a": [1, 2]}
    facts = api.artifact("value").metadata
    assert facts["source_serialization_module"] == name
    if "protocol" in parameters:
        assert facts["source_pickle_protocol_used"] == 4
    if name != "pickle":
        assert facts[f"source_{name}_version_used"]


@pytest.mark.service("skl2onnx")
def test_onnx(run: Any) -> None:
    import numpy
    import onnxruntime as rt
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    @multi_asset(
        compute_kind="Python",
        outs={
            "my_onnx_model": AssetOut(
                metadata={"windlass_artifact_configuration": {"type": "model"}},
                io_manager_key="windlass_artifacts_manager",
            ),
            "my_test_set": AssetOut(
                metadata={"windlass_artifact_configuration": {"type": "test_set"}},
                io_manager_key="windlass_artifacts_manager",
            ),
        },
        group_name="onnx_example",
    )
    def create_onnx_model():
        iris = load_iris()
        X, y = iris.data, iris.target
        X_train, X_test, y_train, y_test = train_test_split(X, y)
        clr = RandomForestClassifier()
        clr.fit(X_train, y_train)
        initial_type = [("float_input", FloatTensorType([None, 4]))]
        onx = convert_sklearn(clr, initial_types=initial_type)
        return onx.SerializeToString(), {"X_test": X_test, "y_test": y_test}

    @asset(
        name="experiment_results",
        compute_kind="Python",
        ins={
            "my_onnx_model": AssetIn(input_manager_key="windlass_artifacts_manager"),
            "my_test_set": AssetIn(input_manager_key="windlass_artifacts_manager"),
        },
        group_name="onnx_example",
    )
    def use_onnx_model(context, my_onnx_model, my_test_set):
        sess = rt.InferenceSession(my_onnx_model)
        input_name = sess.get_inputs()[0].name
        label_name = sess.get_outputs()[0].name
        pred_onx = sess.run([label_name], {input_name: my_test_set["X_test"].astype(numpy.float32)})[0]
        context.log.info(pred_onx)
        return (pred_onx == my_test_set["y_test"]).mean()

    assert run(create_onnx_model, use_onnx_model).output_for_node("experiment_results") > 0.8


PMML = """<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header/><DataDictionary>
<DataField name="x" optype="continuous" dataType="double"/><DataField name="y" optype="continuous" dataType="double"/>
</DataDictionary><RegressionModel functionName="regression"><MiningSchema><MiningField name="x"/>
<MiningField name="y" usageType="target"/></MiningSchema><RegressionTable intercept="1">
<NumericPredictor name="x" coefficient="2"/></RegressionTable></RegressionModel></PMML>"""


def test_pmml_both_ways(run: Any) -> None:
    """As the text of the model, and as a file in an artifact of one's own."""
    import xml.etree.ElementTree as ET

    def predict(text: str, x: float) -> float:
        space = {"p": "http://www.dmg.org/PMML-4_4"}
        table = ET.fromstring(text).find(".//p:RegressionTable", space)
        assert table is not None
        predictor = table.find("p:NumericPredictor", space)
        assert predictor is not None
        return float(table.attrib["intercept"]) + float(predictor.attrib["coefficient"]) * x

    @asset
    def model_as_text():
        return PMML

    @asset
    def model_as_file():
        Path("model.pmml").write_text(PMML)
        artifact = windlass.Artifact("model_as_file", "model")
        artifact.add_file("model.pmml")
        return artifact

    @asset(
        ins={"path": AssetIn("model_as_file", metadata={"windlass_artifact_configuration": {"get_path": "model.pmml"}})}
    )
    def use(model_as_text, path):
        return predict(model_as_text, 3), predict(Path(path).read_text(), 4)

    assert run(model_as_text, model_as_file, use).output_for_node("use") == (7, 9)


def test_tracking_in_the_run_of_dagster(run: Any, api: windlass.Api) -> None:
    @asset
    def trained(context):
        with windlass.init(id=context.run_id, resume="allow", project="my_project") as mine:
            mine.log({"loss": 0.5})
        return 1

    done = run(trained)
    found = api.run(done.run_id)
    assert found.summary["loss"] == 0.5
    assert [a.name for a in found.logged_artifacts()] == ["trained"]


@pytest.mark.parametrize("option", ["windlass_run_id", "run_id"])
def test_run_of_ones_own(instance: dg.DagsterInstance, api: windlass.Api, option: str) -> None:
    @op(out=Out(metadata={"windlass_artifact_configuration": {"name": "kept", "type": "dataset"}}))
    def work():
        with windlass.init(id="my_resumable_run_id", resume="allow", project="my_project") as mine:
            mine.log({"loss": 0.5})
        return 1

    @job(
        resource_defs={
            **RESOURCES,
            "io_manager": windlass_artifacts_io_manager.configured({option: "my_resumable_run_id"}),
        }
    )
    def tracked():
        work()

    assert tracked.execute_in_process(run_config=RUN_CONFIG, instance=instance).success
    found = api.run("my_resumable_run_id")
    assert found.summary["loss"] == 0.5
    assert [a.name for a in found.logged_artifacts()] == ["kept"]
