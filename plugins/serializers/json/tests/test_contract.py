"""The contract of serializers, kept by `json`."""

from __future__ import annotations

from typing import Any

import pytest

from windlass_testkit.serializers import SerializerContract


class TestJson(SerializerContract):
    name = "json"

    @pytest.fixture
    def sample(self) -> Any:
        return {"numbers": list(range(1000)), "text": "ä" * 99, "nested": [{"a": None}, True, 0.5]}

    @pytest.fixture
    def unfit(self) -> Any:
        return {1, 2}
