"""The contract of serializers, kept by `parquet`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from windlass_testkit.serializers import SerializerContract


class TestParquet(SerializerContract):
    name = "parquet"

    @pytest.fixture
    def sample(self) -> Any:
        return pa.table({"a": list(range(1000)), "t": [str(n) for n in range(1000)]})

    @pytest.fixture
    def unfit(self) -> Any:
        return [1, 2]

    @pytest.fixture
    def same(self) -> Callable[[Any, Any], bool]:
        return lambda one, other: type(one) is type(other) and one.equals(other)


class TestPandas(TestParquet):
    @pytest.fixture
    def sample(self) -> Any:
        return pd.DataFrame({"a": range(1000), "t": [str(n) for n in range(1000)]})


class TestPolars(TestParquet):
    @pytest.fixture
    def sample(self) -> Any:
        return pl.DataFrame({"a": range(1000), "t": [str(n) for n in range(1000)]})
