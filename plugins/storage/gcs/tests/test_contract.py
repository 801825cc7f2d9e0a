from __future__ import annotations

import pytest

from windlass_testkit.storage import StorageContract


class TestGcs(StorageContract):
    name = "gcs"

    @pytest.fixture
    def config(self, gcs_server, signing_credentials):
        return {"chunk-size": 1 << 20}

    @pytest.fixture
    def root(self, gcs_server):
        gcs_server.create("kept", versioned=True)
        return "gs://kept/root"
