from __future__ import annotations

import pytest

from windlass_testkit.storage import StorageContract


@pytest.mark.service("moto")
class TestS3(StorageContract):
    name = "s3"

    @pytest.fixture
    def config(self, s3_bucket):
        return {"part-size": 5 << 20}

    @pytest.fixture
    def root(self, s3_bucket):
        return f"s3://{s3_bucket.name}/root"


class TestVersionedS3(TestS3):
    @pytest.fixture
    def root(self, s3_bucket):
        s3_bucket.Versioning().enable()
        return f"s3://{s3_bucket.name}"
