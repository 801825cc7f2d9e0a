"""The contract against a server that checks every signature, and that is not Amazon's: OpenStack Swift."""

from __future__ import annotations

import os
import urllib.error
import urllib.request

import pytest

from windlass.errors import AccessError
from windlass.storage import ObjectRef
from windlass_testkit.simulators.swift import swift_bucket, swift_server  # noqa: F401
from windlass_testkit.storage import StorageContract

MIB = 1 << 20


@pytest.mark.slow
@pytest.mark.service("swift")
class TestSwift(StorageContract):
    name = "s3"

    @pytest.fixture
    def config(self, swift_bucket):  # noqa: F811
        return {"part-size": 5 * MIB}

    @pytest.fixture
    def root(self, swift_bucket):  # noqa: F811
        return f"s3://{swift_bucket}/root"

    def test_a_file_in_parts(self, storage, root, tmp_path):
        data = os.urandom(12 * MIB)
        (tmp_path / "big").write_bytes(data)
        storage.put(f"{root}/big", str(tmp_path / "big"))
        assert storage.open(ObjectRef(uri=f"{root}/big")).read() == data
        assert storage.put(f"{root}/big", b"other").size == len(data)

    def test_a_signed_url_and_one_that_was_changed(self, storage, root):
        storage.put(f"{root}/k", b"bytes")
        url = storage.presign(f"{root}/k", "GET", 60)
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"bytes"
        with pytest.raises(urllib.error.HTTPError, match="403") as caught:
            urllib.request.urlopen(url.replace("/k?", "/other?"))
        caught.value.close()

    def test_a_wrong_secret_is_refused_by_every_call(self, app, root, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        storage = app.create("storage", "s3", {"part-size": 5 * MIB})
        for call in (
            lambda: storage.stat(f"{root}/k"),
            lambda: storage.put(f"{root}/k", b"x"),
            lambda: storage.put(f"{root}/k", bytes(11 * MIB)),
            lambda: storage.open(ObjectRef(uri=f"{root}/k")).read(),
            lambda: list(storage.list(root)),
            lambda: storage.delete([f"{root}/k"]),
            storage.check,
        ):
            with pytest.raises(AccessError):
                call()
