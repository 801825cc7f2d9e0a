"""The example project, as its README says it is used: under ``dagster dev``, looked at with a browser.

``WINDLASS_SCREENSHOT=docs/how-to/images/dagster-report.png`` makes the picture of the documentation anew.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import windlass
from windlass_testkit.services import program
from windlass_testkit.waiting import eventually

pytestmark = [pytest.mark.service("skl2onnx", "dagster-webserver"), pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def store(pages: Any) -> Iterator[windlass.Api]:
    with windlass.Api(windlass.Settings(entity="my_entity", project="digits")) as api:
        yield api


@pytest.fixture
def report(pages: Any, store: windlass.Api) -> Any:
    """The materialization of the last asset; the first test that asks for it has all assets made."""
    with (pages.folder / "digits.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not store.artifact_exists("report"):
            span = {"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "9"}
            pages.until_it_is("SUCCESS", pages.materialize("digits", "images", tags=span))
            rest = ("training_set", "test_set", "model", "onnx_model", "report")
            pages.until_it_is("SUCCESS", pages.materialize("digits", *rest))
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("report"))
    assert event is not None
    return event.asset_materialization


def test_whole(pages: Any, store: windlass.Api, report: Any) -> None:
    assert report.metadata["accuracy"].value > 0.85
    assert report.metadata["dagster/row_count"].value == 10
    names = {c.name for c in store.artifact_collections() if c.type not in ("code", "job")}
    rest = {"training_set", "test_set", "model", "onnx_model", "report"}
    assert names == {f"images.{digit}" for digit in range(10)} | rest
    made_by = store.artifact("model").logged_by()
    assert made_by != store.artifact("report").logged_by()  # the launched run made it


def test_a_moved_alias_is_a_materialization(pages: Any, store: windlass.Api, report: Any) -> None:
    """The daemon evaluates the example's sensor."""
    store.artifact("model").add_aliases("approved")
    pages.switch_on("digits", "model_approved")
    with dg.DagsterInstance.get() as instance:
        event = eventually(lambda: instance.get_latest_materialization_event(dg.AssetKey("approved_model")), 90)
    assert event.asset_materialization.metadata["windlass_artifact_version"].value == "v0"


@pytest.mark.service("chromium")
def test_the_page_shows_the_metadata(pages: Any, report: Any, tmp_path: Path) -> None:
    """As a browser draws it: the table's columns and rows, and where its artifact is."""
    shot = Path(os.environ.get("WINDLASS_SCREENSHOT", tmp_path / "report.png")).absolute()
    drawn = subprocess.run(
        [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1500,1250", "--virtual-time-budget=20000",
         f"--screenshot={shot}", "--dump-dom", f"http://127.0.0.1:{pages.port}/assets/report"],
        check=True, timeout=120, capture_output=True, text=True,
    ).stdout  # fmt: skip
    digest = report.metadata["windlass_artifact_digest"].value
    for text in ("windlass_artifact_ref", "my_entity/digits/report:v0", digest, "recognized", "accuracy"):
        assert text in drawn
    assert shot.read_bytes().startswith(b"\x89PNG")
