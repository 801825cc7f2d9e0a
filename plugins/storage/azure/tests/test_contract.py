from __future__ import annotations

import pytest

from windlass_testkit.storage import StorageContract


@pytest.mark.service("azurite")
class TestAzure(StorageContract):
    name = "azure"

    @pytest.fixture
    def config(self, azure_container):
        return {"block-size": 1 << 20}

    @pytest.fixture
    def root(self, azure_container):
        return f"az://{azure_container}/root"
