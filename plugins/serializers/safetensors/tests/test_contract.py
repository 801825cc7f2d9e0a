"""The contract of serializers, kept by `safetensors`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from windlass_testkit.serializers import SerializerContract


class TestSafetensors(SerializerContract):
    name = "safetensors"

    @pytest.fixture
    def sample(self) -> Any:
        return {"a": np.arange(1000.0), "b": np.arange(10, dtype="i4")}

    @pytest.fixture
    def unfit(self) -> Any:
        return [1, 2]

    @pytest.fixture
    def same(self) -> Callable[[Any, Any], bool]:
        return lambda one, other: (
            list(one) == list(other) and all(np.array_equal(one[key], other[key]) for key in other)
        )
