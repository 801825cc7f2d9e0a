"""The storage in memory and the fake serializer keep their contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from windlass.errors import StorageError
from windlass_testkit.fakes import PLUGIN_FILE
from windlass_testkit.fakes.storage import MemoryStorage
from windlass_testkit.serializers import SerializerContract
from windlass_testkit.storage import StorageContract


class TestMemoryStorage(StorageContract):
    name = "memory"
    plugin_files = (PLUGIN_FILE,)

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return f"kit://bucket{tmp_path}"


class TestFakeSerializer(SerializerContract):
    name = "fake"
    plugin_files = (PLUGIN_FILE,)

    @pytest.fixture
    def sample(self) -> Any:
        return {"rows": [[index, str(index), index / 7, None] for index in range(500)]}

    @pytest.fixture
    def unfit(self) -> Any:
        return {1, 2}


def test_lost_answer_of_a_put() -> None:
    storage = MemoryStorage()
    storage.faults.fail("put", StorageError("the connection broke", retryable=True), after=True)
    with pytest.raises(StorageError):
        storage.put("kit://a/b", b"x")
    assert storage.put("kit://a/b", b"x").version == "1", "the work was done, and is not done again"
