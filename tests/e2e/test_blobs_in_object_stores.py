"""A metadata store whose blobs are in an object store: commands, jobs without keys of the cloud, collection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from windlass.artifacts.gc import collect_garbage
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.simulators.aws import aws_env, moto_server, s3_bucket  # noqa: F401
from windlass_testkit.simulators.azure import azure_container, azure_env, azurite_server  # noqa: F401
from windlass_testkit.simulators.gcs import gcs_bucket, gcs_server  # noqa: F401

JOB = """
import os
import windlass

with windlass.init() as run:
    cloud = [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "STORAGE_EMULATOR"))]
    print("variables of the cloud:", cloud, flush=True)
    text = open(run.use_artifact("data:latest").get_entry("a/1.bin").download(), "rb").read()
    made = windlass.Artifact("made", type="result")
    with made.new_file("size.txt") as file:
        file.write(str(len(text)))
    with made.new_file("big.bin", mode="wb") as file:
        file.write(os.urandom(1 << 20))
    run.log_artifact(made)
"""


@pytest.fixture(autouse=True)
def _no_utcnow_complaints():
    with warnings.catch_warnings():  # botocore calls datetime.utcnow() on Python versions that deprecate it
        warnings.filterwarnings("ignore", message="datetime.datetime.utcnow", category=DeprecationWarning)
        yield


@pytest.fixture(
    params=[
        pytest.param(("s3", "s3_bucket"), id="s3", marks=pytest.mark.service("moto")),
        pytest.param(("gs", "gcs_bucket"), id="gs"),
        pytest.param(("az", "azure_container"), id="az", marks=pytest.mark.service("azurite")),
    ]
)
def place(request: pytest.FixtureRequest) -> str:
    """URI of an empty folder in an object store."""
    scheme, fixture = request.param
    bucket = request.getfixturevalue(fixture)
    return f"{scheme}://{getattr(bucket, 'name', bucket)}/some/folder"


def typed(*words: str, code: int = 0) -> str:
    """What a command prints. Variables for pytest's own process are not passed on to its coverage or warnings."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-m", "windlass_cli", *words],
        capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL, env=env,
    )  # fmt: skip
    assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def stored(home: Path, place: str) -> dict[str, int]:
    """Objects in the folder and their sizes."""
    with closing(App(Settings.from_env({"WINDLASS_HOME": str(home)}))) as app:
        return {info.uri.removeprefix(place): info.size for info in app.storage_for(place).list(place)}


@pytest.fixture
def data(home: Path) -> Path:
    folder = Path("data")
    for name in ("a/1.bin", "a/2.bin", "b.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(50_000))
    return folder


def test_artifacts_and_jobs_with_blobs_in_an_object_store(home: Path, place: str, data: Path) -> None:
    typed("store", "blobs", place)
    assert typed("store", "blobs").strip() == place
    assert stored(home, place) == {}, "the probe is left"
    typed("artifact", "put", str(data), "--name", "proj/data")
    objects = stored(home, place)
    assert sum(objects.values()) > 150_000
    assert not list((home / "blobs").rglob("*")), "blobs were kept on this host"
    typed("artifact", "get", "proj/data", "--root", "out")
    assert (Path("out/a/1.bin")).read_bytes() == (data / "a/1.bin").read_bytes()

    Path("code").mkdir()
    Path("code/job.py").write_text(JOB)
    typed("queue", "create", "q", "-r", "process")
    queued = typed(
        "launch", "-u", "code", "-E", f"{sys.executable} job.py", "-p", "proj", "-q", "q", "--no-wait", "--json"
    )
    run_id = json.loads(queued)["id"]
    typed("launch-agent", "-q", "q", "--drain")
    run = json.loads(typed("run", "show", run_id, "--json"))
    log = typed("run", "logs", run_id)
    assert (run["state"], run["exit_code"]) == ("finished", 0), log
    assert "variables of the cloud: []" in log
    typed("artifact", "get", "proj/made", "--root", "made")
    assert Path("made/size.txt").read_text() == "50000"
    typed("artifact", "verify", "proj/made")


def test_garbage_is_collected_in_an_object_store(home: Path, place: str, data: Path) -> None:
    typed("store", "blobs", place)
    typed("artifact", "put", str(data), "--name", "proj/data")
    needed = stored(home, place)
    (data / "b.txt").write_bytes(os.urandom(2 << 20))
    typed("artifact", "put", str(data / "b.txt"), "--name", "proj/waste")
    assert json.loads(typed("artifact", "gc", "--json"))["young_blobs"] == 0
    typed("artifact", "rm", "proj/waste", "--force")
    report = json.loads(typed("artifact", "gc", "--undelete", "0", "--json"))
    assert report["young_blobs"] > 0, "what has just been uploaded is spared"
    with closing(App(Settings.from_env())) as app, closing(app.open_store()) as store:
        report = collect_garbage(store, grace=-60, undelete=0)
    assert report.freed_bytes > 2 << 20
    assert stored(home, place) == needed
    typed("artifact", "verify", "proj/data")


def test_lost_and_damaged_blobs_are_repaired_in_an_object_store(home: Path, place: str, data: Path) -> None:
    typed("store", "blobs", place)
    (data / "large").write_bytes(os.urandom(20 << 20))
    typed("artifact", "put", str(data), "--name", "proj/data")
    before = stored(home, place)
    with closing(App(Settings.from_env())) as app:
        storage = app.storage_for(place)
        for index, name in enumerate(sorted(before)):  # packs, chunks and the manifest
            if index % 2:
                storage.delete([place + name])
            else:
                storage.put(place + name, os.urandom(before[name]), if_absent=False)
    typed("artifact", "verify", "proj/data", code=1)
    report = json.loads(typed("artifact", "repair", "proj/data", "--from", str(data), "--json"))
    assert report["restored"]
    assert not report["lost"]
    assert stored(home, place) == before
    typed("artifact", "verify", "proj/data")


def test_blobs_move_into_an_object_store_and_back(home: Path, place: str, data: Path) -> None:
    typed("artifact", "put", str(data), "--name", "proj/data")
    refused = typed("store", "blobs", place, code=1)
    assert "--copy" in refused
    report = json.loads(typed("store", "blobs", place, "--copy", "--json"))
    assert report["copied_blobs"] == len(stored(home, place))
    typed("artifact", "verify", "proj/data")
    back = json.loads(typed("store", "blobs", "kept", "--copy", "--json"))
    assert back["root"] == Path("kept").absolute().as_uri()
    assert back["copied_bytes"] == report["copied_bytes"]
    typed("artifact", "verify", "proj/data")


@pytest.mark.service("moto")
def test_a_place_that_does_not_work_is_refused_before_it_is_recorded(home: Path, s3_bucket) -> None:  # noqa: F811
    before = typed("store", "blobs")
    assert "no such bucket" in typed("store", "blobs", "s3://no-such-bucket-here/x", code=1)
    assert "only be read" in typed("store", "blobs", "https://127.0.0.1:9/x", code=2)
    assert "inside" in typed("store", "blobs", f"{before.strip()}/deeper", code=2)
    assert typed("store", "blobs") == before
