"""References to objects of S3, as artifacts record and read them."""

from __future__ import annotations

from functools import partial

import pytest

from windlass.artifacts.reader import open_entry
from windlass.artifacts.references import reference_entries
from windlass.errors import ObjectNotFoundError, UsageError
from windlass.plugins import App
from windlass.settings import Settings

pytestmark = pytest.mark.service("moto")


@pytest.fixture
def s3(tmp_path, aws_env):
    app = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))
    yield app.storage_for("s3://bucket/key")
    app.close()


@pytest.fixture
def record(s3):
    return partial(reference_entries, name=None, storage_for=lambda _: s3)


def test_a_version_that_is_gone(s3, s3_bucket, record):
    root = f"s3://{s3_bucket.name}"
    s3_bucket.Versioning().enable()
    s3_bucket.put_object(Key="d/a", Body=b"one")
    (entry,) = record(f"{root}/d")
    s3_bucket.Object("d/a").delete()
    assert open_entry(entry, None, lambda _: s3).read() == b"one", "a delete marker hides no version"
    s3_bucket.put_object(Key="d/a", Body=b"two")
    s3_bucket.Object("d/a").Version(entry.extra["version"]).delete()
    with pytest.raises(ObjectNotFoundError, match="recorded is gone, and what is there now") as caught:
        open_entry(entry, None, lambda _: s3).read()
    assert "record it anew" in caught.value.hint
    s3_bucket.put_object(Key="d/a", Body=b"one")
    assert open_entry(entry, None, lambda _: s3).read() == b"one"
    s3_bucket.Object("d/a").delete()
    with pytest.raises(ObjectNotFoundError, match="there is no such object") as caught:
        open_entry(entry, None, lambda _: s3).read()
    assert "--allow-missing" in caught.value.hint


@pytest.mark.parametrize("key", ["q?x=1", "h#ash", "h#12", "per%20cent", "pl+us"])
def test_all_of_a_key_is_its_name(s3_bucket, record, key):
    s3_bucket.Versioning().enable()
    version = s3_bucket.put_object(Key=f"d/{key}", Body=b"x").version_id
    root = f"s3://{s3_bucket.name}/d"
    for uri in (root, f"{root}/{key}", f"{root}/{key}?versionId={version}"):
        (entry,) = record(uri)
        assert entry.path == key


@pytest.mark.parametrize("key", ["d/../../etc", "d//a", "d/./a"])
def test_a_key_that_is_no_path_is_named(s3_bucket, record, key):
    root = f"s3://{s3_bucket.name}"
    s3_bucket.put_object(Key="d/plain", Body=b"x")
    s3_bucket.meta.client.put_object(Bucket=s3_bucket.name, Key=key, Body=b"odd")
    with pytest.raises(UsageError, match="cannot be a path") as caught:
        record(f"{root}/d")
    assert caught.value.where == f"{root}/{key}"
    assert "by its own address" in caught.value.hint
    assert record(f"{root}/{key}", name="odd")[0].path == "odd"
