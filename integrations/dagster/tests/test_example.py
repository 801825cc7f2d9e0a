# ruff: noqa: E501 - queries and command lines
"""The example project: whole in one process, and under a real webserver and daemon."""

import importlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import windlass
from windlass_testkit.waiting import eventually

EXAMPLE = Path(__file__).parents[3] / "examples" / "dagster-digits"
pytestmark = [pytest.mark.service("skl2onnx"), pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("DIGITS_QUEUE", raising=False)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield importlib.import_module("dagster_digits.definitions").defs
    for name in [name for name in sys.modules if name.startswith("dagster_digits")]:
        del sys.modules[name]


def materialize(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    assets = list(definitions.assets)
    resources = dict(definitions.resources)
    images = [a for a in assets if isinstance(a, dg.AssetsDefinition) and "images" in a.node_def.name]
    tags = {"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "9"}
    assert dg.materialize(images, resources=resources, instance=instance, tags=tags).success
    return dg.materialize(
        assets, selection=dg.AssetSelection.all() - dg.AssetSelection.assets("images", "approved_model"),
        resources=resources, instance=instance,
    )  # fmt: skip


def test_whole(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    done = materialize(definitions, instance)
    (event,) = done.asset_materializations_for_node("report")
    assert event.metadata["accuracy"].value > 0.85
    assert event.metadata["dagster/row_count"].value == 10
    with windlass.Api(windlass.Settings(entity="my_entity", project="digits")) as api:
        names = {c.name for c in api.artifact_collections() if c.type not in ("code", "job")}
        assert names == {f"images.{n}" for n in range(10)} | {
            "training_set",
            "test_set",
            "model",
            "onnx_model",
            "report",
        }
        assert api.artifact("model").logged_by() != done.run_id  # the launched run made it


@pytest.mark.service("dagster-webserver")
def test_webserver_and_daemon(definitions: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages' own API shows the metadata; the daemon turns a moved alias into a materialization."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    with dg.DagsterInstance.get() as instance:
        assert materialize(definitions, instance).success
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE)}
    with (tmp_path / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-m", "dagster_digits.definitions", "-h", "127.0.0.1", "-p", str(port)],
            cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            eventually(lambda: ask(port, "{version}"), 120)
            answer = ask(
                port,
                '{assetOrError(assetKey:{path:["report"]}){... on Asset{assetMaterializations(limit:1){metadataEntries'
                "{label ... on TextMetadataEntry{text} ... on IntMetadataEntry{intValue}}}}}}",
            )
            entries = answer["assetOrError"]["assetMaterializations"][0]["metadataEntries"]
            shown = {entry["label"]: entry.get("text", entry.get("intValue")) for entry in entries}
            assert shown["windlass_artifact_ref"] == "my_entity/digits/report:v0"
            assert shown["dagster/row_count"] == 10
            shot = os.environ.get("WINDLASS_SCREENSHOT")
            if shot:
                screenshot(port, shot)
            with windlass.Api(windlass.Settings(entity="my_entity", project="digits")) as api:
                api.artifact("model").add_aliases("approved")
            start_sensor(port)
            with dg.DagsterInstance.get() as instance:
                key = dg.AssetKey("approved_model")
                eventually(lambda: instance.get_latest_materialization_event(key), 120)
                event = instance.get_latest_materialization_event(key).asset_materialization
            assert event.metadata["windlass_artifact_version"].value == "v0"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def ask(port: int, query: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)
    except OSError:
        return None
    assert "errors" not in found, found
    return found["data"]


def start_sensor(port: int) -> None:
    query = (
        'mutation{startSensor(sensorSelector:{repositoryLocationName:"dagster_digits.definitions",repositoryName:'
        '"__repository__",sensorName:"model_approved"}){__typename}}'
    )
    assert ask(port, query)["startSensor"]["__typename"] == "Sensor"


def screenshot(port: int, target: str) -> None:
    program = os.environ.get("CHROMIUM", "chromium")
    subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,1250", "--virtual-time-budget=20000",
         f"--screenshot={target}", f"http://127.0.0.1:{port}/assets/report"],
        check=True, timeout=90, capture_output=True,
    )  # fmt: skip
