from collections.abc import Callable
from pathlib import Path

import pytest

from windlass_storage_file.storage import uri_of
from windlass_testkit.storage import StorageContract


class TestFileStorage(StorageContract):
    name = "file"

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        (tmp_path / "objects").mkdir()
        return f"file://{tmp_path}/objects"

    @pytest.fixture
    def address(self, root: str) -> Callable[[str], str]:
        return lambda name: uri_of(f"{root.removeprefix('file://')}/{name}")
