from collections.abc import Callable
from pathlib import Path

import pytest

from windlass.storage import file_uri
from windlass_testkit.storage import StorageContract


class TestFileStorage(StorageContract):
    name = "file"

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        (tmp_path / "objects").mkdir()
        return f"file://{tmp_path}/objects"

    @pytest.fixture
    def address(self, root: str) -> Callable[[str], str]:
        return lambda name: file_uri(f"{root.removeprefix('file://')}/{name}")
