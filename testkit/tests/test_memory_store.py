"""The metadata store in memory keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass_testkit.fakes import PLUGIN_FILE
from windlass_testkit.metastores import MetadataStoreContract


class TestMemoryStore(MetadataStoreContract):
    name = "memory"
    plugin_files = (PLUGIN_FILE,)

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"memory://{tmp_path}"
