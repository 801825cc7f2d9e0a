"""The contract of serializers, kept by `numpy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from windlass_testkit.serializers import SerializerContract


class TestNumpy(SerializerContract):
    name = "numpy"

    @pytest.fixture
    def sample(self) -> Any:
        return np.arange(1000.0).reshape(10, 100)

    @pytest.fixture
    def unfit(self) -> Any:
        return [1, 2]

    @pytest.fixture
    def same(self) -> Callable[[Any, Any], bool]:
        return lambda one, other: type(one) is type(other) and np.array_equal(one, other)


class TestMappedNumpy(TestNumpy):
    @pytest.fixture
    def config(self) -> dict[str, Any]:
        return {"mmap_mode": "c"}


class TestDictsOfArrays(TestNumpy):
    @pytest.fixture
    def sample(self) -> Any:
        return {"a": np.arange(1000.0), "b": np.arange(10)}

    @pytest.fixture
    def same(self) -> Callable[[Any, Any], bool]:
        return lambda one, other: (
            list(one) == list(other) and all(np.array_equal(one[key], other[key]) for key in other)
        )
