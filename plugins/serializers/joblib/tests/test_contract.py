"""The contract of serializers, kept by `joblib`."""

from __future__ import annotations

from typing import Any

import pytest

from windlass_testkit.serializers import SerializerContract


class TestJoblib(SerializerContract):
    name = "joblib"

    @pytest.fixture
    def sample(self) -> Any:
        return {
            "numbers": list(range(1000)),
            "text": "ä" * 99,
            "bytes": bytes(range(256)) * 10,
            "nested": ({1, 2}, None),
        }

    @pytest.fixture
    def unfit(self) -> Any:
        return (x for x in range(3))


class TestCompressedJoblib(TestJoblib):
    @pytest.fixture
    def config(self) -> dict[str, Any]:
        return {"compress": ["zlib", 3]}

    @pytest.fixture
    def exact(self) -> bool:
        return False  # joblib stops at the end of the pickle and never sees the checksum behind it
