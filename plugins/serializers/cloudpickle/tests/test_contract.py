"""The contract of serializers, kept by `cloudpickle`."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from windlass_testkit.serializers import SerializerContract


class TestCloudpickle(SerializerContract):
    name = "cloudpickle"

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
        return threading.Lock()
