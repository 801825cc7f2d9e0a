"""The samples by which other tools' documentation has taught people reference artifacts: they run under our names.

What differs from those texts: buckets and mounts are this test's, and what translation garbled there is mended.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import windlass
from windlass.errors import ObjectChangedError, ObjectNotFoundError, UsageError
from windlass.sdk import globals as active
from windlass_testkit.simulators.aws import aws_env, moto_server, s3_bucket  # noqa: F401

TRACK = """
    import windlass

    run = windlass.init()
    artifact = windlass.Artifact('mnist', type='dataset')
    artifact.add_reference('{place}/datasets/mnist')
    run.log_artifact(artifact)
"""
DOWNLOAD = """
    import windlass

    run = windlass.init()
    artifact = run.use_artifact('mnist:latest', type='dataset')
    artifact_dir = artifact.download()
"""
DOWNLOAD_BY_PATH = """
    import windlass

    run = windlass.init()
    artifact = run.use_artifact(
        'ann/uncategorized/mnist:latest',
        type='dataset'
    )
    artifact_dir = artifact.download()
"""
TRACK_AS_INPUT = """
    import windlass

    run = windlass.init()
    artifact = windlass.Artifact('mnist', type='dataset')
    artifact.add_reference('{place}/datasets/mnist')

    # Track the artifact and mark it as an input of this run. A new version is logged only when files have changed.
    run.use_artifact(artifact)
    artifact_dir = artifact.download()
"""
MODEL_IN_A_BUCKET = """
    import boto3
    import windlass

    run = windlass.init()

    s3_client = boto3.client('s3')
    s3_client.upload_file(
        'my_model.h5',
        '{bucket}',
        'models/cnn/my_model.h5'
    )
    model_artifact = windlass.Artifact('cnn', type='model')
    model_artifact.add_reference('s3://{bucket}/models/cnn/')
    run.log_artifact(model_artifact)
"""
MODEL_ON_A_MOUNT = """
    import windlass

    run = windlass.init()

    with open('{mount}/cnn/my_model.h5', 'w') as f:
        f.write('weights')
    model_artifact = windlass.Artifact('cnn', type='model')
    model_artifact.add_reference('{place}/cnn/my_model.h5')
    run.log_artifact(model_artifact)
"""


@pytest.fixture(autouse=True)
def _no_run_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WINDLASS_DISABLE_JOB_CREATION", "true")  # not what these samples are about
    yield
    if (left := active.current_run()) is not None:
        left.finish()


def play(sample: str, **names: object) -> windlass.Artifact | None:
    """Run a sample as a program of its own; returns what it called ``artifact``."""
    scope: dict[str, windlass.Artifact] = {}
    exec(textwrap.dedent(sample).format(**names), scope)
    windlass.finish()
    return scope.get("artifact")


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    root = tmp_path / "mount"
    (root / "datasets" / "mnist").mkdir(parents=True)
    (root / "cnn").mkdir()
    for name in ("0.png", "1.png"):
        (root / "datasets" / "mnist" / name).write_text(name)
    return root


def check_story(place: str, *, change: Callable[[], object]) -> None:
    """Track, download, use as an input: unchanged files are one version, changed ones make the next."""
    play(TRACK, place=place)
    for sample in (DOWNLOAD, DOWNLOAD_BY_PATH):
        found = play(sample)
        assert found is not None
        assert sorted(path.name for path in Path("artifacts/mnist:v0").iterdir()) == ["0.png", "1.png"]
    with windlass.Api() as api:
        found = play(TRACK_AS_INPUT, place=place)
        assert found is not None
        assert found.version == "v0"
        assert len(api.artifact("mnist:latest").used_by()) == 3
        assert not [entry for entry in api.artifact("mnist:latest").entries() if not entry.ref]
        change()
        found = play(TRACK_AS_INPUT, place=place)
        assert found is not None
        assert found.version == "v1"
        assert Path("artifacts/mnist:v1/0.png").read_text() == "changed"


def test_a_file_system(mount: Path) -> None:
    place = mount.as_uri()
    check_story(place, change=lambda: (mount / "datasets/mnist/0.png").write_text("changed"))
    with windlass.Api() as api, pytest.raises(ObjectChangedError, match="file has changed"):
        api.artifact("mnist:v0").download("old")  # a file system keeps no old versions
    play(MODEL_ON_A_MOUNT, place=place, mount=mount)
    with windlass.Api() as api:
        assert Path(api.artifact("cnn:latest").file("model")).read_text() == "weights"


@pytest.mark.service("moto")
@pytest.mark.timeout(300)
def test_a_bucket(s3_bucket: Any) -> None:  # noqa: F811
    bucket = s3_bucket
    name = bucket.name
    bucket.Versioning().enable()
    for file in ("0.png", "1.png"):
        bucket.put_object(Key=f"datasets/mnist/{file}", Body=file.encode())
    bucket.put_object(Key="datasets/mnist-other/no.png", Body=b"no")
    check_story(
        f"s3://{name}",
        change=lambda: bucket.put_object(Key="datasets/mnist/0.png", Body=b"changed"),
    )
    with windlass.Api() as api:  # the bucket keeps versions, so the old one is still whole
        assert Path(api.artifact("mnist:v0").download("old"), "0.png").read_text() == "0.png"
    Path("my_model.h5").write_text("weights")
    play(MODEL_IN_A_BUCKET, bucket=name)
    with windlass.Api() as api:
        assert Path(api.artifact("cnn:latest").file("model")).read_text() == "weights"
    bucket.Versioning().suspend()


@pytest.mark.service("moto")
@pytest.mark.timeout(300)
def test_what_is_uploaded_again_unchanged(s3_bucket: Any) -> None:  # noqa: F811
    """It is no new version, and the old one is readable after the bucket has let its version ids go."""
    bucket, content = s3_bucket, {"small": b"small", "large": b"l" * (20 << 20)}
    bucket.Versioning().enable()

    def upload() -> None:
        for key, body in content.items():
            bucket.put_object(Key=f"again/{key}", Body=body)

    def log(run: windlass.Run) -> windlass.Artifact:
        artifact = windlass.Artifact("again", type="dataset")
        artifact.add_reference(f"s3://{bucket.name}/again")
        return run.log_artifact(artifact)

    with windlass.init() as run:
        upload()
        first = log(run)
        old = list(bucket.object_versions.filter(Prefix="again/"))
        upload()
        assert log(run).version == "v0"
        for version in old:
            version.delete()
        folder = Path(first.download("again"))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
        assert first.get_entry("large").open().read(3) == b"lll"
        content["large"] = b"L" * (20 << 20)
        upload()
        for version in list(bucket.object_versions.filter(Prefix="again/large")):
            if not version.is_latest:
                version.delete()
        with pytest.raises((ObjectNotFoundError, ObjectChangedError)):
            first.download("changed")
        assert log(run).version == "v1"
    bucket.Versioning().suspend()


def test_too_many_objects(mount: Path) -> None:
    artifact = windlass.Artifact("mnist", type="dataset")
    with pytest.raises(UsageError, match="more than 1 objects") as caught:
        artifact.add_reference(f"{mount.as_uri()}/datasets", max_objects=1)
    assert "max_objects=10" in str(caught.value)
    assert len(artifact.add_reference(f"{mount.as_uri()}/datasets", max_objects=10)) == 2


def test_the_command_line(mount: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from windlass_cli.main import run

    path = str(mount / "datasets" / "mnist")
    assert run(["artifact", "put", "--name", "project/artifact_name", "--type", "TYPE", path]) == 0
    assert "ann/project/artifact_name:v0" in capsys.readouterr().out
    with windlass.Api() as api:
        found = api.artifact("project/artifact_name:latest", type="TYPE")
        assert [entry.ref for entry in found.entries()] == ["", ""]
