"""Uploads to object stores by real processes: killed, raced, damaged on their way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from windlass.plugins.app import App
from windlass.settings import Settings
from windlass.storage import ObjectRef
from windlass_testkit.simulators.aws import aws_env, moto_server, s3_bucket  # noqa: F401
from windlass_testkit.simulators.azure import azure_container, azure_env, azurite_server  # noqa: F401
from windlass_testkit.simulators.between import Between, Seen
from windlass_testkit.simulators.gcs import gcs_bucket, gcs_server  # noqa: F401
from windlass_testkit.waiting import eventually

MIB = 1 << 20
PUT = """
import os, sys
from windlass.plugins.app import App
uri, source, *wait = sys.argv[1:]
app = App()
app.configure_storage({
    "s3": {"part-size": 5 << 20}, "gcs": {"chunk-size": 1 << 20}, "azure": {"block-size": 1 << 20},
})
storage = app.storage_for(uri)
if wait:
    print("ready", flush=True)
    sys.stdin.readline()
print(storage.put(uri, source).etag)
app.close()
"""


@pytest.fixture(autouse=True)
def _no_utcnow_complaints():
    with warnings.catch_warnings():  # botocore calls datetime.utcnow() on Python versions that deprecate it
        warnings.filterwarnings("ignore", message="datetime.datetime.utcnow", category=DeprecationWarning)
        yield


@pytest.fixture(
    params=[
        pytest.param(("s3", "s3_bucket", "AWS_ENDPOINT_URL"), id="s3", marks=pytest.mark.service("moto")),
        pytest.param(("gs", "gcs_bucket", "STORAGE_EMULATOR_HOST"), id="gs"),
        pytest.param(
            ("az", "azure_container", "AZURE_STORAGE_BLOB_ENDPOINT"), id="az", marks=pytest.mark.service("azurite")
        ),
    ]
)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Between]]:
    """URI of a folder, and the server through which it is reached."""
    scheme, fixture, variable = request.param
    bucket = request.getfixturevalue(fixture)
    with Between(os.environ[variable], checks=scheme == "s3") as between:
        monkeypatch.setenv(variable, between.url)
        yield f"{scheme}://{getattr(bucket, 'name', bucket)}/folder", between


def begin(*words: str) -> subprocess.Popen[str]:
    """Start a process that puts one object."""
    return subprocess.Popen(
        [sys.executable, "-c", PUT, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate("\n", timeout=90)
    assert process.returncode == 0, err
    return out.split()[-1]


def read(uri: str) -> bytes:
    with closing(App(Settings.from_env())) as app, app.storage_for(uri).open(ObjectRef(uri=uri)) as stream:
        return stream.read()


def test_a_killed_upload_goes_on_and_sends_no_part_twice(home: Path, way: tuple[str, Between]) -> None:
    place, between = way
    size = 21 * MIB if place.startswith("s3") else 7 * MIB
    data = os.urandom(size)
    Path("big").write_bytes(data)
    go, let_through = threading.Event(), threading.Semaphore(3)

    def three_parts(seen: Seen) -> None:
        if seen.part and not let_through.acquire(blocking=False):
            go.wait(60)

    between.hold = three_parts
    first = begin(f"{place}/big", "big")
    eventually(lambda: len(between.parts) >= 3)
    if place.startswith("s3"):  # the others ask the store what it has
        journals = home / "uploads" / "s3"
        eventually(lambda: sum(path.read_bytes().count(b"\n") for path in journals.glob("*.jsonl")) >= 4)
    confirmed = list(between.parts)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    between.hold = lambda _: None
    waiting = len(between.seen)
    before = set(confirmed)
    end(begin(f"{place}/big", "big"))
    with between.lock:
        after = [one for one in between.seen[waiting:] if one.part and one.status in (200, 201, 308)]
    go.set()
    assert before.isdisjoint(one.part for one in after)
    assert sum(one.size for one in after) < size - 2 * (size // 8)
    assert read(f"{place}/big") == data
    assert not list((home / "uploads").rglob("*.jsonl"))


def test_of_many_processes_that_put_one_object_one_wins(home: Path, way: tuple[str, Between]) -> None:
    place, between = way
    bodies = {os.urandom(100_000) for _ in range(6)}
    processes = []
    for number, body in enumerate(bodies):
        Path(f"f{number}").write_bytes(body)
        processes.append(begin(f"{place}/one", f"f{number}", "wait"))
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # now all at once
        process.stdin.write("\n")
        process.stdin.flush()
    etags = {end(process) for process in processes}
    assert len(etags) == 1
    assert read(f"{place}/one") in bodies
    assert len([one for one in between.seen if one.method in ("PUT", "POST") and one.status in (200, 201)]) == 1


@pytest.mark.parametrize("size", [100_000, 21 * MIB], ids=["whole", "in-parts"])
def test_a_byte_that_flips_on_its_way_is_noticed_by_the_store(home: Path, way: tuple[str, Between], size: int) -> None:
    place, between = way
    data = os.urandom(size if place.startswith("s3") else min(size, 7 * MIB))
    Path("file").write_bytes(data)
    flipped = threading.Semaphore(1)

    def flip(seen: Seen, body: bytes) -> bytes:
        if len(body) > 50_000 and flipped.acquire(blocking=False):
            return body[:40_000] + bytes([body[40_000] ^ 4]) + body[40_001:]
        return body

    between.damage = flip
    end(begin(f"{place}/file", "file"))
    assert not flipped.acquire(blocking=False), "nothing was flipped"
    assert read(f"{place}/file") == data, "the store took damaged bytes"
