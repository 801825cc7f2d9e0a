"""The contract of serializers, kept by `dill`."""

from __future__ import annotations

from typing import Any

import pytest

from windlass_testkit.serializers import SerializerContract


class TestDill(SerializerContract):
    name = "dill"

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
